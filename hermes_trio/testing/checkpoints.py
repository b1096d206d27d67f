"""Proof that a ``Cancellation:`` paragraph tells the truth: cancel at every place where it can happen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import final

import trio
from attrs import frozen


class Moment(Enum):
    """When, relative to one step of a task, the cancel comes."""

    PARKED = auto()
    """The task waits: the wait is aborted."""
    RUNNABLE = auto()
    """What it waited for has just happened and it is about to go on: the cancel strikes at its next
    checkpoint. Races between an event and a cancel are of this kind."""


@frozen(kw_only=True)
class CheckpointReport:
    """What :func:`cancel_at_every_checkpoint` did."""

    cancelled: int
    """Runs that ended by the cancel."""
    survived: int
    """Runs that were cancelled too late, or in a shielded place, and ended by themselves."""


@final
class _CancelAtStep(trio.abc.Instrument):
    """Cancels a scope at the n-th step of a task or of any task below it."""

    def __init__(self, scope: trio.CancelScope, root: trio.lowlevel.Task, step: int, moment: Moment) -> None:
        self.struck = False
        self._scope = scope
        self._root = root
        self._left = step
        self._moment = moment

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._moment is Moment.RUNNABLE:
            self._count(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._moment is Moment.PARKED:
            self._count(task)

    def _count(self, task: trio.lowlevel.Task) -> None:
        if self.struck or not _is_below(task, self._root):
            return
        self._left -= 1
        if self._left <= 0:
            self.struck = True
            self._scope.cancel()


def _is_below(task: trio.lowlevel.Task | None, root: trio.lowlevel.Task) -> bool:
    while task is not None and task is not root:
        nursery = task.parent_nursery
        task = None if nursery is None else nursery.parent_task
    return task is root


async def cancel_at_every_checkpoint(
    async_fn: Callable[[], Awaitable[object]],
    *,
    check: Callable[[], Awaitable[object]] | None = None,
    max_checkpoints: int = 500,
) -> CheckpointReport:
    """Run a function again and again, and cancel it one checkpoint later each time, until it completes.

    The first run is cancelled before it begins. Each later step of the function, in its own task or in one
    that it started, is struck twice: while the task waits there, and when it has just been woken.

    Cancellation: abandons the run under way.

    Args:
        async_fn: makes everything it needs anew on each call. It must let ``Cancelled`` through.
        check: runs after each run, not cancelled; raises when something was left behind. ``None``: no check.
        max_checkpoints: an end for functions that never complete.

    Returns:
        How the runs ended.

    Raises:
        AssertionError: the function was still not done after ``max_checkpoints`` steps.
    """
    cancelled = survived = 0
    for step in range(max_checkpoints):
        for moment in Moment:
            was_cancelled, struck = await _run_once(async_fn, step, moment)
            cancelled += was_cancelled
            survived += struck and not was_cancelled
            if check is not None:
                await check()
            if not struck and moment is Moment.RUNNABLE:
                return CheckpointReport(cancelled=cancelled, survived=survived)
    raise AssertionError(f"not done after {max_checkpoints} checkpoints")


async def _run_once(
    async_fn: Callable[[], Awaitable[object]], step: int, moment: Moment
) -> tuple[bool, bool]:
    await trio.lowlevel.checkpoint()
    with trio.CancelScope() as scope:
        if step == 0:
            scope.cancel()
            await async_fn()
            return False, True
        instrument = _CancelAtStep(scope, trio.lowlevel.current_task(), step, moment)
        trio.lowlevel.add_instrument(instrument)
        try:
            await async_fn()
        finally:
            trio.lowlevel.remove_instrument(instrument)
        return False, instrument.struck
    return True, True
