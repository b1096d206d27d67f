"""A structured-concurrency runtime for the tool calls of reinforcement-learning rollouts.

The names below are loaded when they are first used (PEP 562): ``import hermes_trio.wire`` must load neither
Trio nor httpx, and this file is executed by every import of anything below it. Type checkers read the
imports, Python reads the table; a test holds the two together.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hermes_trio.agents.hooks import TurnHook as TurnHook
    from hermes_trio.agents.limits import LoopLimits as LoopLimits
    from hermes_trio.agents.loop import AgentLoop as AgentLoop
    from hermes_trio.agents.result import AgentResult as AgentResult
    from hermes_trio.agents.sub_agent import SubAgent as SubAgent
    from hermes_trio.backends.base import Backend as Backend
    from hermes_trio.backends.local import open_local_backend as open_local_backend
    from hermes_trio.backends.static import open_static_backend as open_static_backend
    from hermes_trio.errors import BrokenLinkError as BrokenLinkError
    from hermes_trio.errors import BusyError as BusyError
    from hermes_trio.errors import ClosedError as ClosedError
    from hermes_trio.errors import HermesTrioError as HermesTrioError
    from hermes_trio.errors import InvalidInputError as InvalidInputError
    from hermes_trio.errors import LinkLostError as LinkLostError
    from hermes_trio.errors import LocalProtocolError as LocalProtocolError
    from hermes_trio.errors import LostError as LostError
    from hermes_trio.errors import NoBaseError as NoBaseError
    from hermes_trio.errors import NobodyThereError as NobodyThereError
    from hermes_trio.errors import NoRoomError as NoRoomError
    from hermes_trio.errors import ProtocolError as ProtocolError
    from hermes_trio.errors import Provenance as Provenance
    from hermes_trio.errors import QuietSlotError as QuietSlotError
    from hermes_trio.errors import RefusedError as RefusedError
    from hermes_trio.errors import RemoteProtocolError as RemoteProtocolError
    from hermes_trio.errors import SandboxLostError as SandboxLostError
    from hermes_trio.errors import SlotStateError as SlotStateError
    from hermes_trio.errors import TooSlowError as TooSlowError
    from hermes_trio.errors import UnavailableError as UnavailableError
    from hermes_trio.executor.artifacts import ArtifactArchive as ArtifactArchive
    from hermes_trio.executor.artifacts import ArtifactContent as ArtifactContent
    from hermes_trio.executor.artifacts import ArtifactEntry as ArtifactEntry
    from hermes_trio.executor.artifacts import ArtifactList as ArtifactList
    from hermes_trio.executor.config import ExecutorConfig as ExecutorConfig
    from hermes_trio.executor.executor import Executor as Executor
    from hermes_trio.executor.executor import ExecutorStatistics as ExecutorStatistics
    from hermes_trio.executor.executor import open_executor as open_executor
    from hermes_trio.executor.options import CallOptions as CallOptions
    from hermes_trio.executor.quiet import QuietSlot as QuietSlot
    from hermes_trio.executor.stream import OutputChunk as OutputChunk
    from hermes_trio.executor.stream import ToolStream as ToolStream
    from hermes_trio.executor.transfer import Transfer as Transfer
    from hermes_trio.models.chat import ChatClient as ChatClient
    from hermes_trio.tools.calls import ToolCall as ToolCall
    from hermes_trio.tools.calls import ToolResult as ToolResult
    from hermes_trio.tools.functions import python_tool as python_tool
    from hermes_trio.tools.mcp.config import McpLimits as McpLimits
    from hermes_trio.tools.mcp.config import McpProgram as McpProgram
    from hermes_trio.tools.mcp.config import McpUrl as McpUrl
    from hermes_trio.tools.mcp.server import open_mcp_server as open_mcp_server
    from hermes_trio.tools.registry import ToolRegistry as ToolRegistry
    from hermes_trio.tools.registry import registry_of as registry_of
    from hermes_trio.tools.schema import ToolSchema as ToolSchema
    from hermes_trio.tools.tool import Tool as Tool
    from hermes_trio.tools.tool import ToolContext as ToolContext
    from hermes_trio.tools.tool_server.client import ToolServerClient as ToolServerClient
    from hermes_trio.tools.tool_server.server import ToolServerConfig as ToolServerConfig
    from hermes_trio.tools.tool_server.server import open_tool_server as open_tool_server
    from hermes_trio.tools.tool_server.server import serve_tool_server as serve_tool_server

_MODULES = {
    "AgentLoop": "hermes_trio.agents.loop",
    "AgentResult": "hermes_trio.agents.result",
    "ArtifactArchive": "hermes_trio.executor.artifacts",
    "ArtifactContent": "hermes_trio.executor.artifacts",
    "ArtifactEntry": "hermes_trio.executor.artifacts",
    "ArtifactList": "hermes_trio.executor.artifacts",
    "Backend": "hermes_trio.backends.base",
    "BrokenLinkError": "hermes_trio.errors",
    "BusyError": "hermes_trio.errors",
    "CallOptions": "hermes_trio.executor.options",
    "ChatClient": "hermes_trio.models.chat",
    "ClosedError": "hermes_trio.errors",
    "Executor": "hermes_trio.executor.executor",
    "ExecutorConfig": "hermes_trio.executor.config",
    "ExecutorStatistics": "hermes_trio.executor.executor",
    "HermesTrioError": "hermes_trio.errors",
    "InvalidInputError": "hermes_trio.errors",
    "LinkLostError": "hermes_trio.errors",
    "LocalProtocolError": "hermes_trio.errors",
    "LoopLimits": "hermes_trio.agents.limits",
    "LostError": "hermes_trio.errors",
    "McpLimits": "hermes_trio.tools.mcp.config",
    "McpProgram": "hermes_trio.tools.mcp.config",
    "McpUrl": "hermes_trio.tools.mcp.config",
    "NoBaseError": "hermes_trio.errors",
    "NoRoomError": "hermes_trio.errors",
    "NobodyThereError": "hermes_trio.errors",
    "OutputChunk": "hermes_trio.executor.stream",
    "ProtocolError": "hermes_trio.errors",
    "Provenance": "hermes_trio.errors",
    "QuietSlot": "hermes_trio.executor.quiet",
    "QuietSlotError": "hermes_trio.errors",
    "RefusedError": "hermes_trio.errors",
    "RemoteProtocolError": "hermes_trio.errors",
    "SandboxLostError": "hermes_trio.errors",
    "SlotStateError": "hermes_trio.errors",
    "SubAgent": "hermes_trio.agents.sub_agent",
    "TooSlowError": "hermes_trio.errors",
    "Tool": "hermes_trio.tools.tool",
    "ToolCall": "hermes_trio.tools.calls",
    "ToolContext": "hermes_trio.tools.tool",
    "ToolRegistry": "hermes_trio.tools.registry",
    "ToolResult": "hermes_trio.tools.calls",
    "ToolSchema": "hermes_trio.tools.schema",
    "ToolServerClient": "hermes_trio.tools.tool_server.client",
    "ToolServerConfig": "hermes_trio.tools.tool_server.server",
    "ToolStream": "hermes_trio.executor.stream",
    "Transfer": "hermes_trio.executor.transfer",
    "TurnHook": "hermes_trio.agents.hooks",
    "UnavailableError": "hermes_trio.errors",
    "open_executor": "hermes_trio.executor.executor",
    "open_local_backend": "hermes_trio.backends.local",
    "open_mcp_server": "hermes_trio.tools.mcp.server",
    "open_static_backend": "hermes_trio.backends.static",
    "open_tool_server": "hermes_trio.tools.tool_server.server",
    "python_tool": "hermes_trio.tools.functions",
    "registry_of": "hermes_trio.tools.registry",
    "serve_tool_server": "hermes_trio.tools.tool_server.server",
}
"""Every public name, and the module that has it."""

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> object:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(module), name)
    globals()[name] = value  # asked once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
