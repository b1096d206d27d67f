"""PURE. What is to be done with a tool call: refuse it, or run it by which handler, server or operation.

This file is the argument policy. The model chooses what to run; where it runs, how long, and with what
rights is chosen here: ``allow_network``, ``require_sandbox`` and ``require_stateful_sandbox`` are dropped
from its arguments, and what it asks for as ``timeout`` is clamped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from hermes_trio.errors import Provenance
from hermes_trio.executor.config import MAX_LIMIT_S, MIN_LIMIT_S, ExecutorConfig
from hermes_trio.executor.file_plans import FILE_BUILDERS, Built
from hermes_trio.executor.job_plans import about_job, start_job
from hermes_trio.executor.options import CallOptions
from hermes_trio.executor.usable import UnusableError, text_argument
from hermes_trio.tools.arguments import argument_problems
from hermes_trio.tools.background import JOB, SHELLS
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import ToolRegistry
from hermes_trio.tools.tool import Tool
from hermes_trio.wire.operations import Operation, TerminalAction


@frozen(kw_only=True)
class Refuse:
    """Nothing runs; this is the answer."""

    result: ToolResult


@frozen(kw_only=True)
class RunHandler:
    """A tool of this process: its handler runs the call."""

    tool: Tool
    limit_s: float


@frozen(kw_only=True)
class AskToolServer:
    """An external tool: the call goes to the ToolServer, under the name that it knows."""

    tool: Tool
    limit_s: float


@frozen(kw_only=True)
class RunInSlot:
    """An operation of the daemon, on the trajectory's slot."""

    tool: Tool
    operation: Operation
    arguments: Mapping[str, Any]
    payload: bytes = b""
    limit_s: float


Plan = Refuse | RunHandler | AskToolServer | RunInSlot


def plan_call(
    call: ToolCall,
    *,
    registry: ToolRegistry,
    config: ExecutorConfig,
    limit_s: float | None = None,
    options: CallOptions | None = None,
) -> Plan:
    """Decide what to do with a call.

    Args:
        call: as the model asked for it.
        registry: the tools that exist here.
        config: the rights and limits that hold here.
        limit_s: the caller's limit in seconds; ``None``: the model's ``timeout`` argument, else the default.
        options: how the caller wants a command to be run.
    """
    tool = registry.tool(call.name)
    if tool is None:
        return refuse(call, f"Unknown tool: {call.name}")
    problems = argument_problems(tool.schema, call.arguments)
    limit_s = _limit(tool, call, asked_s=limit_s, default_s=config.default_limit_s)
    if tool.schema.external and config.tool_server_url is None:
        text = f"External tool not available (ToolServer not configured): {call.name}"
        return refuse(call, text, Provenance.UNAVAILABLE)
    if tool.runs_in_slot and tool.runs_as not in _BUILDERS:
        return refuse(call, f"Unknown tool: {call.name}")
    if _wants_background(tool, call) and not config.allow_background:
        text = "terminal background execution is not supported in sandbox"
        return refuse(call, text, Provenance.DENIED)
    if problems:
        return refuse(call, f"Invalid arguments for {call.name}: {'; '.join(problems)}")
    if tool.handler is not None:
        return RunHandler(tool=tool, limit_s=limit_s)
    if tool.schema.external:
        return AskToolServer(tool=tool, limit_s=limit_s)
    return _in_slot(tool, call, config, limit_s, options)


def _in_slot(
    tool: Tool, call: ToolCall, config: ExecutorConfig, limit_s: float, options: CallOptions | None
) -> Plan:
    try:
        build = (
            start_job if tool.runs_as in SHELLS and _wants_background(tool, call) else _BUILDERS[tool.runs_as]
        )
        operation, arguments, payload = build(call.arguments, config)
    except UnusableError as exc:
        return refuse(call, str(exc))
    if options is not None and operation is Operation.JOB and options.environment:
        arguments = {**arguments, "environment": dict(options.environment)}
    if options is not None and operation is Operation.BASH:
        arguments = {**arguments, **options.arguments()}
        payload = payload if options.stdin is None else options.stdin
    return RunInSlot(tool=tool, operation=operation, arguments=arguments, payload=payload, limit_s=limit_s)


def _wants_background(tool: Tool, call: ToolCall) -> bool:
    if not tool.runs_in_slot:
        return False
    return tool.runs_as == JOB.name or (tool.runs_as in SHELLS and bool(call.arguments.get("background")))


def _limit(tool: Tool, call: ToolCall, *, asked_s: float | None, default_s: float) -> float:
    """A handler's argument of the name ``timeout`` is its own business; so is its unit."""
    arguments = call.arguments if tool.handler is None else {}
    limit_s = limit_of(arguments, asked_s=asked_s, default_s=default_s)
    return limit_s if tool.limit_s is None else min(limit_s, tool.limit_s)


def refuse(call: ToolCall, error: str, provenance: Provenance = Provenance.INVALID_REQUEST) -> Refuse:
    """The answer to a call of which nothing runs."""
    result = ToolResult(success=False, error=error, uniq_id=call.uniq_id, provenance=provenance)
    return Refuse(result=result)


def limit_of(arguments: Mapping[str, Any], *, asked_s: float | None, default_s: float) -> float:
    """The call's limit in seconds: the caller's, else the model's, both clamped; else the default."""
    if asked_s is None:
        match arguments.get("timeout"):
            case bool():
                pass  # an int to Python, but no number of seconds
            case (int() | float()) as timeout if not math.isnan(timeout):
                asked_s = timeout
    if asked_s is None:
        return default_s
    return float(max(MIN_LIMIT_S, min(asked_s, MAX_LIMIT_S)))


# --- one builder for each tool; those of files are in `file_plans.py` --------------------------------------


def _bash(arguments: Mapping[str, Any], config: ExecutorConfig) -> Built:
    sent: dict[str, Any] = {
        "command": text_argument(arguments, "command", nul=False),
        "allow_network": config.allow_network,
        "require_sandbox": config.require_sandbox,
    }
    for name in ("cwd", "shell"):
        if name in arguments:
            sent[name] = text_argument(arguments, name, nul=False)
    return Operation.BASH, sent, text_argument(arguments, "stdin", default="").encode()


def _bash_stateful(arguments: Mapping[str, Any], config: ExecutorConfig) -> Built:
    sent = {
        "command": text_argument(arguments, "command", nul=False),
        "allow_network": config.allow_network,
        "require_stateful_sandbox": config.require_stateful_sandbox,
    }
    return Operation.BASH_STATEFUL, sent, b""


_TERMINAL_ACTIONS: Mapping[str, TerminalAction] = {
    "start": TerminalAction.START,
    "send_keys": TerminalAction.SEND,
    "capture": TerminalAction.CAPTURE,
    "stream": TerminalAction.RECORDING,
    "stop": TerminalAction.STOP,
}
_ENTIRE_LINES = 1000
_MAX_TERMINAL_BYTES = 3 * 1024 * 1024


def _tmux(arguments: Mapping[str, Any], config: ExecutorConfig) -> Built:
    """The ancestor's tool: one terminal of a trajectory, and bounds that a model cannot leave."""
    keys = arguments.get("keys", ())
    sent: dict[str, Any] = {
        "action": _TERMINAL_ACTIONS[arguments["action"]],
        "allow_network": config.allow_network,
        "require_stateful_sandbox": config.require_stateful_sandbox,
        "keys": [text_argument({"keys": key}, "keys") for key in ([keys] if isinstance(keys, str) else keys)],
        "block": bool(arguments.get("block", False)),
        "min_wait_s": _clamped(arguments, "min_wait_s", 0.0, 0.0, MAX_LIMIT_S),
        "max_wait_s": _clamped(arguments, "max_wait_s", config.default_limit_s, 0.0, MAX_LIMIT_S),
        "max_bytes": int(_clamped(arguments, "max_bytes", 65_536, 1, _MAX_TERMINAL_BYTES)),
        "columns": int(_clamped(arguments, "pane_width", 120, 20, 500)),
        "rows": int(_clamped(arguments, "pane_height", 40, 10, 200)),
        "scrollback_lines": _ENTIRE_LINES if arguments.get("capture_entire") else 0,
        "reset": bool(arguments.get("reset", False)),
        "follow": True,
        "show": True,
    }
    return Operation.TERMINAL, sent, b""


def _clamped(arguments: Mapping[str, Any], name: str, default: float, lowest: float, highest: float) -> float:
    return max(lowest, min(float(arguments.get(name, default)), highest))


_BUILDERS: Mapping[str, Callable[[Mapping[str, Any], ExecutorConfig], Built]] = {
    "bash": _bash,
    "terminal": _bash,
    "bash_stateful": _bash_stateful,
    "terminal_stateful": _bash_stateful,
    "tmux": _tmux,
    "job": about_job,
    **FILE_BUILDERS,
}
