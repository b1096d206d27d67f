"""What is to become of one call: run it, answer it here, or refuse it. PURE but for the todo list.

Refusals are answers: the model is told what was wrong and how to do better, and nothing runs. The
ancestor ran a call with ``{}`` when its arguments were not JSON; a command that was never asked for is worse
than a turn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Never

from attrs import frozen

from hermes_trio.agents.answer import CallRequest
from hermes_trio.errors import Provenance
from hermes_trio.tools.arguments import argument_problems
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import ToolRegistry
from hermes_trio.tools.render import error_content
from hermes_trio.tools.todo import TODO, TodoStore
from hermes_trio.tools.tool import Tool

_TODO = Tool(TODO)

_NOT_AVAILABLE = frozenset({"memory", "session_search"})
"""Tools of the ancestor's assistant that models trained on it call; a rollout has nothing behind them."""


@frozen
class Refusal:
    """``error`` for the record; ``told`` is what the model reads."""

    error: str
    told: str


@frozen
class LocalAnswer:
    """Answered by the loop itself."""

    content: str


Plan = ToolCall | LocalAnswer | Refusal


class _BadArguments(Exception):
    """The text of the arguments is no JSON object; the text says where."""


def plan_call(request: CallRequest, tools: ToolRegistry, todo: TodoStore) -> Plan:
    """Decide about one call. Its ``call_id`` becomes the ``uniq_id`` of the :class:`ToolCall`."""
    tool = tools.tool(request.name) or (_TODO if request.name == _TODO.name else None)
    if tool is None:
        return _without_schema(request, tools)
    try:
        arguments = decode_arguments(request.arguments)
    except _BadArguments as error:
        return _refused(f"The arguments of '{request.name}' {error}")
    problems = argument_problems(tool.schema, arguments)
    if problems:
        return _refused(f"The arguments of '{request.name}' do not fit: {'; '.join(problems)}")
    return _planned(request, tool, arguments, todo)


def _without_schema(request: CallRequest, tools: ToolRegistry) -> Plan:
    if request.name in _NOT_AVAILABLE:
        return LocalAnswer(error_content(f"The tool '{request.name}' is not available in this environment."))
    error = f"Unknown tool '{request.name}'"
    return Refusal(error, f"{error}. Available tools: {', '.join(sorted(tools.names())) or 'none'}.")


def _refused(error: str) -> Refusal:
    return Refusal(error, f"{error}. Nothing was run; call again with corrected arguments.")


def _planned(request: CallRequest, tool: Tool, arguments: Mapping[str, Any], todo: TodoStore) -> Plan:
    # Who registers a tool of one of these names that somebody runs means that one.
    if tool.runs_in_slot and request.name == _TODO.name:
        return LocalAnswer(todo.apply(arguments))
    if tool.runs_in_slot and request.name in _NOT_AVAILABLE:
        return LocalAnswer(error_content(f"The tool '{request.name}' is not available in this environment."))
    return ToolCall(request.name, arguments, uniq_id=request.call_id, raw_text=request.raw_text)


def decode_arguments(text: str) -> Mapping[str, Any]:
    """The arguments object; no text at all means no arguments."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = f"at line {error.lineno} column {error.colno} (char {error.pos})"
        raise _BadArguments(f"are not valid JSON: {error.msg} {where}") from error
    except (ValueError, RecursionError) as error:
        raise _BadArguments(f"are not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise _BadArguments("must be a JSON object")
    return value


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not a JSON value")


def is_error(result: ToolResult) -> bool:
    """Whether a result is recorded as a :class:`hermes_trio.agents.result.ToolError`.

    A command that exits with a status is ordinary work. A limit (exit code below 0), a tool that crashed, a
    refusal by policy and a failure of the infrastructure are not.
    """
    exit_code = result.metadata.get("exit_code")
    negative = bool(result.error) and isinstance(exit_code, int) and exit_code < 0
    crashed = "exception" in result.metadata
    return negative or crashed or result.provenance in _COUNTED or result.provenance.is_infrastructure


_COUNTED = frozenset({Provenance.DENIED, Provenance.INVALID_REQUEST, Provenance.LIMIT_EXCEEDED})
