"""Whoever needs a trajectory's slot waits for it as long as the settings say, and no longer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from hermes_trio.api.problems import ProblemError
from hermes_trio.api.state import ApiState
from hermes_trio.errors import Provenance
from hermes_trio.link.background import open_background_nursery
from hermes_trio.tools.calls import ToolCall, ToolResult

T = TypeVar("T")


class NoSlotInTimeError(ProblemError):
    """No slot was free for a trajectory within the limit: 409, as for one that asked for none.

    Args:
        limit_s: how long it waited.
    """

    def __init__(self, limit_s: float) -> None:
        detail = f"Failed to acquire slot: none was free within {limit_s:g} s"
        super().__init__(409, detail, field="trajectory_id", headers={"retry-after": "1"})


async def with_slot(api: ApiState, trajectory_id: str, work: Callable[[], Awaitable[T]]) -> T:
    """Does what needs a trajectory's slot.

    Whatever is asked of a trajectory that waits for its slot waits behind that, and would wait on when
    whoever asked for the slot has given up.

    Cancellation: abandons the work, as whoever does the work says.

    Raises:
        NoSlotInTimeError: the trajectory waited for a slot for longer; the work was cancelled.
    """
    limit_s = api.acquire_limit_s
    if limit_s is None or api.executor.holds_slot(trajectory_id):
        return await work()
    with trio.CancelScope() as patience:
        async with open_background_nursery() as nursery:
            nursery.start_soon(_give_up_waiting, api, trajectory_id, limit_s, patience)
            return await work()
    raise NoSlotInTimeError(limit_s)


async def call_with_slot(
    api: ApiState, trajectory_id: str, call: ToolCall, execute: Callable[[], Awaitable[ToolResult]]
) -> ToolResult:
    """Runs a call; that there was no slot for it is its result.

    Cancellation: abandons the call, as :meth:`Executor.execute` says.
    """
    tool = api.executor.registry.tool(call.name)
    if tool is None or not tool.runs_in_slot:
        return await execute()  # what runs here or at a ToolServer waits for no slot, however long it takes
    try:
        return await with_slot(api, trajectory_id, execute)
    except NoSlotInTimeError as none:
        await trio.lowlevel.checkpoint()
        error = none.detail
        return ToolResult(False, error=error, uniq_id=call.uniq_id, provenance=Provenance.UNAVAILABLE)


async def _give_up_waiting(
    api: ApiState, trajectory_id: str, limit_s: float, patience: trio.CancelScope
) -> None:
    await trio.sleep(limit_s)
    if not api.executor.holds_slot(trajectory_id):
        patience.cancel()
