"""The tools of a run: what the model is offered, and what the executor has to know for that."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import trio
from attrs import frozen

from hermes_trio.cli.agent_options import AgentSettings
from hermes_trio.errors import InvalidInputError, UnavailableError
from hermes_trio.models.request import public_url
from hermes_trio.tools.mcp.config import read_mcp_config
from hermes_trio.tools.registry import BUILTIN_TOOLS, ToolRegistry, registry_of
from hermes_trio.tools.tool import Tool
from hermes_trio.tools.tool_server.client import ToolServerClient
from hermes_trio.tools.wrappers import prefixed

ANSWER_LIMIT_S = 20.0
"""How long a ToolServer may take to name its tools."""

_OF_TASKS = ("bash", "write_file")
"""What setting a task up and grading it need, whatever the model is offered."""

_UNUSUAL = re.compile(r"[^A-Za-z0-9_-]")
"""What model servers take in no tool's name."""


@frozen(kw_only=True)
class RunTools:
    """Two registries: ``offered`` to the model, and ``known`` to the executor, which runs set-ups too."""

    offered: ToolRegistry
    known: ToolRegistry


def check_tools(settings: AgentSettings) -> None:
    """Refuse names that mean nothing, as far as that can be told before anything is started.

    Raises:
        InvalidInputError: it names the option.
    """
    if settings.mcp is not None:
        read_mcp_config(settings.mcp)
    if settings.mcp is None and settings.tool_server is None:
        _registries(settings, ())


@asynccontextmanager
async def open_tools(settings: AgentSettings) -> AsyncIterator[RunTools]:
    """Connect to the servers that have tools, and put everything together.

    Cancellation: shielded, at most 6 s, while MCP servers end.

    Raises:
        InvalidInputError: a name means nothing, or two tools have one name.
        UnavailableError: a server is not there, or the extra for it.
    """
    async with AsyncExitStack() as stack:
        external = [] if settings.tool_server is None else await _of_tool_server(settings)
        yield _registries(settings, [*await _of_mcp(settings, stack), *external])


async def _of_mcp(settings: AgentSettings, stack: AsyncExitStack) -> list[Tool]:
    await trio.lowlevel.checkpoint()
    if settings.mcp is None:
        return []
    # Loaded when it is wanted: it is an extra.
    from hermes_trio.tools.mcp.server import open_mcp_server

    tools: list[Tool] = []
    for name, place in read_mcp_config(settings.mcp).items():
        server = await stack.enter_async_context(open_mcp_server(place, name=name))
        tools += prefixed(server.tools, f"{_UNUSUAL.sub('_', name)}_")
    return tools


async def _of_tool_server(settings: AgentSettings) -> list[Tool]:
    assert settings.tool_server is not None
    client = ToolServerClient(settings.tool_server, token=settings.tool_server_token)
    try:
        with trio.move_on_after(ANSWER_LIMIT_S):
            return [Tool(schema) for schema in await client.list_tools()]
    finally:
        await client.aclose()
    told = f"The ToolServer at {public_url(settings.tool_server)} did not answer within {ANSWER_LIMIT_S:g} s."
    raise UnavailableError(told)


def _registries(settings: AgentSettings, own: Sequence[Tool]) -> RunTools:
    _check_names(own)
    for option, names in (("--tools", settings.tools), ("--without", settings.without)):
        try:
            registry_of(*names, tools=own)
        except InvalidInputError as error:
            raise InvalidInputError(str(error), source=option) from error
    offered = registry_of(*settings.tools, disabled=settings.without, tools=own)
    missing = [name for name in _OF_TASKS if name not in offered]
    return RunTools(offered=offered, known=ToolRegistry([*offered, *registry_of(*missing)]))


def _check_names(own: Sequence[Tool]) -> None:
    """One of ours that another replaced would set tasks up in the wrong place."""
    taken = {schema.name for schema in BUILTIN_TOOLS}
    for tool in own:
        if tool.name in taken:
            told = f"a server has a tool '{tool.name}', and there is one of that name already"
            raise InvalidInputError(told, source="--tool-server" if tool.schema.external else "--mcp")
        taken.add(tool.name)
