"""Tools under other names, fewer of them, or with limits. They take tools of every kind and give new ones.

Where a tool runs does not change: whoever runs it is called by the name that it knows (``Tool.known_as``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import trio
from attrs import evolve

from hermes_trio.errors import InvalidInputError
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.schema import ToolSchema
from hermes_trio.tools.tool import Tool, ToolContext, ToolHandler

_Number = TypeVar("_Number", int, float)


def prefixed(tools: Iterable[Tool | ToolSchema], prefix: str) -> tuple[Tool, ...]:
    """All of them, with something in front of each name."""
    return tuple(_renamed(tool, prefix + tool.name) for tool in map(_tool, tools))


def renamed(tools: Iterable[Tool | ToolSchema], names: Mapping[str, str]) -> tuple[Tool, ...]:
    """All of them, those that are named under a new name.

    Raises:
        InvalidInputError: there is no tool of an old name.
    """
    taken = tuple(map(_tool, tools))
    missing = sorted(set(names) - {tool.name for tool in taken})
    if missing:
        raise InvalidInputError(f"there is no tool '{missing[0]}' to rename")
    return tuple(_renamed(tool, names.get(tool.name, tool.name)) for tool in taken)


def filtered(tools: Iterable[Tool | ToolSchema], keep: Callable[[Tool], bool]) -> tuple[Tool, ...]:
    """Those that a function says yes to."""
    return tuple(tool for tool in map(_tool, tools) if keep(tool))


def limited(
    tools: Iterable[Tool | ToolSchema],
    *,
    limit_s: float | None = None,
    max_output_chars: int | None = None,
    max_concurrent: int | None = None,
) -> tuple[Tool, ...]:
    """All of them, with limits, which never loosen those that a tool has.

    Args:
        tools: of any kind.
        limit_s: most seconds of a call.
        max_output_chars: output above it loses its middle.
        max_concurrent: calls at once of all these tools together; further ones wait, within their own limit.

    Raises:
        InvalidInputError: a limit is not positive; or ``max_concurrent`` for a tool without a handler: slots
            and ToolServers have limits of their own.
    """
    places = None if max_concurrent is None else _places(max_concurrent)
    return tuple(
        evolve(
            tool,
            limit_s=_tighter(tool.limit_s, limit_s),
            max_output_chars=_tighter(tool.max_output_chars, max_output_chars),
            handler=tool.handler if places is None else _one_of(tool, places),
        )
        for tool in map(_tool, tools)
    )


def _tool(tool: Tool | ToolSchema) -> Tool:
    return tool if isinstance(tool, Tool) else Tool(tool)


def _renamed(tool: Tool, name: str) -> Tool:
    return evolve(tool, schema=evolve(tool.schema, name=name), known_as=tool.runs_as)


def _tighter(one: _Number | None, other: _Number | None) -> _Number | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _places(count: int) -> trio.Semaphore:
    if count < 1:
        raise InvalidInputError(f"must be positive, not {count}", field="max_concurrent")
    return trio.Semaphore(count)


def _one_of(tool: Tool, places: trio.Semaphore) -> ToolHandler:
    handler = tool.handler
    if handler is None:
        raise InvalidInputError(f"tool '{tool.name}' has no handler", field="max_concurrent")

    async def limited_handler(call: ToolCall, context: ToolContext) -> ToolResult:
        async with places:
            return await handler(call, context)

    return limited_handler
