"""Notices an event loop that is blocked, and says where.

Theory of operation. A task of the loop beats; a thread looks whether it did. When the beat is late, the
loop's thread is in the middle of something that does not give it back: the stack of that thread, taken from
outside, says of what. A blocked loop cannot tell anybody itself, so the thread logs it, once for each time
that it is blocked.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Never

import trio
from attrs import define, field, frozen

from hermes_trio.telemetry.log import get_logger

logger = get_logger(__name__)


@frozen(kw_only=True)
class Blockage:
    """One time that a loop was blocked.

    Args:
        blocked_s: for how long, when it was noticed.
        stack: of the loop's thread then, the innermost call last.
    """

    blocked_s: float
    stack: str


def log_blockage(blockage: Blockage) -> None:
    """What is done with one when nobody says otherwise."""
    logger.warning(
        "the event loop has been blocked", blocked_s=round(blockage.blocked_s, 2), stack=blockage.stack
    )


@define(eq=False)
class _Watch:
    limit_s: float
    on_blocked: Callable[[Blockage], None]
    thread_id: int
    over: threading.Event = field(factory=threading.Event)
    beat_at: float = field(factory=time.monotonic)

    async def beat(self) -> Never:
        while True:
            self.beat_at = time.monotonic()
            await trio.sleep(self.limit_s / 4)

    def look(self) -> None:
        """The thread."""
        told_of = 0.0
        while not self.over.wait(self.limit_s / 2):
            beat_at = self.beat_at
            blocked_s = time.monotonic() - beat_at
            if blocked_s > self.limit_s and beat_at != told_of:
                told_of = beat_at
                self.on_blocked(Blockage(blocked_s=blocked_s, stack=self._stack()))

    def _stack(self) -> str:
        frame = sys._current_frames().get(self.thread_id)
        return "".join(traceback.format_stack(frame)) if frame is not None else "(its thread has ended)"


@asynccontextmanager
async def open_watchdog(
    *, limit_s: float = 0.5, on_blocked: Callable[[Blockage], None] = log_blockage
) -> AsyncIterator[None]:
    """Watch this loop while the body runs.

    Cancellation: atomic.

    Args:
        limit_s: a loop that does not come round for so long is blocked.
        on_blocked: is told, in a thread of its own, once for each time. Must not raise.
    """
    watch = _Watch(limit_s=limit_s, on_blocked=on_blocked, thread_id=threading.get_ident())
    thread = threading.Thread(target=watch.look, name="hermes-trio watchdog", daemon=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.beat)
        thread.start()
        try:
            yield
        finally:
            watch.over.set()
            nursery.cancel_scope.cancel()
