"""Runs a tool that has a handler: the one boundary where a crash or a limit becomes a result."""

from __future__ import annotations

import trio
from attrs import evolve

from hermes_trio.errors import Provenance
from hermes_trio.telemetry.log import get_logger
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.render import cut_middle
from hermes_trio.tools.tool import Tool, ToolContext

MAX_OUTPUT_CHARS = 200_000
"""Of a handler's output, where its tool says nothing else."""

logger = get_logger(__name__)


async def run_handler(tool: Tool, call: ToolCall, context: ToolContext) -> ToolResult:
    """Run one call and say how it ended. Never raises for what a handler does.

    Cancellation: *abandons*: the handler is cancelled. A synchronous function goes on in its thread.

    Args:
        tool: with a handler.
        call: its arguments fit the schema.
        context: its ``limit_s`` is enforced here.
    """
    assert tool.handler is not None
    with trio.move_on_after(context.limit_s):
        return _finished(tool, call, await _result_of(tool, evolve(call, name=tool.runs_as), context))
    told = f"{call.name} did not end within {context.limit_s:g} s. {tool.limit_note}".rstrip()
    return ToolResult(
        False,
        error=told,
        metadata={"timeout": True},
        uniq_id=call.uniq_id,
        provenance=Provenance.LIMIT_EXCEEDED,
    )


async def _result_of(tool: Tool, call: ToolCall, context: ToolContext) -> ToolResult:
    assert tool.handler is not None
    await trio.lowlevel.checkpoint()
    try:
        result = await tool.handler(call, context)
    except Exception as error:
        # What a tool's author did not think of is the tool's failure, and the model may try otherwise.
        logger.exception("a tool raised", tool=tool.name)
        kind = type(error).__name__
        told = f"Tool execution failed: {kind}: {error}"
        return ToolResult(False, error=told, metadata={"exception": kind}, provenance=Provenance.TOOL_ERROR)
    return result


def _finished(tool: Tool, call: ToolCall, result: ToolResult) -> ToolResult:
    result = bounded(result, tool.max_output_chars or MAX_OUTPUT_CHARS)
    return evolve(result, uniq_id=call.uniq_id)


def bounded(result: ToolResult, max_chars: int | None) -> ToolResult:
    """The result with its output cut to so many characters; the metadata say so."""
    if max_chars is None or len(result.output) <= max_chars:
        return result
    metadata = {**result.metadata, "truncated": True}
    return evolve(result, output=cut_middle(result.output, max_chars), metadata=metadata)
