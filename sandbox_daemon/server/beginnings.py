"""Calls that began at once, and of which the caller was told nothing yet.

Theory of operation. A call that starts when its frame is read and is over soon is answered by its result
alone: for ``true`` a second frame would cost more than the command. Whoever watches wants to know of the
others that they run. So a call that is still running after :data:`QUIET_S` is announced then. There is one
task for each session, no timer for each call: beginnings are in order, and what has ended meanwhile is
passed over, so that a flood of short calls wakes the task a few times a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Never

import trio

from hermes_trio.wire.frames import CallId

QUIET_S: Final = 0.1


class Beginnings:
    """Of one session.

    Args:
        runs: whether a call still does.
        announce: say that it has begun.
    """

    def __init__(self, *, runs: Callable[[CallId], bool], announce: Callable[[CallId], None]) -> None:
        self._runs = runs
        self._announce = announce
        self._begun = deque[tuple[float, CallId]]()  # at most those of QUIET_S, and those that still run
        self._some = trio.Event()

    def __repr__(self) -> str:
        return f"<Beginnings {len(self._begun)} not told>"

    def add(self, call_id: CallId) -> None:
        """It begins now."""
        self._begun.append((trio.current_time(), call_id))
        self._some.set()

    async def announce_late(self) -> Never:
        """Announce each that runs for long.

        Cancellation: atomic.
        """
        while True:
            await self._some.wait()
            await trio.sleep_until(self._begun[0][0] + QUIET_S)
            now = trio.current_time()
            while self._begun and (not self._runs(self._begun[0][1]) or self._begun[0][0] + QUIET_S <= now):
                _, call_id = self._begun.popleft()
                if self._runs(call_id):
                    self._announce(call_id)
            if not self._begun:
                self._some = trio.Event()
