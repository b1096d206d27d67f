"""A lock that many may hold at once, or one alone; first come, first served.

Calls that their caller wants side by side share a slot; every other call, a reset, and a change of the agent
have it to themselves. Whoever waits alone is not passed by those who would share, so none waits for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

import trio
from attrs import define, field

Wish = Callable[[], bool]
"""Whether to share it, asked when the turn comes: meanwhile it may have become fit for it."""


@define(eq=False)
class _Waiter:
    wish: Wish
    admitted: trio.Event = field(factory=trio.Event)


class SharedLock:
    """Fair, with two ways to hold it."""

    def __init__(self) -> None:
        self._holders = 0
        self._alone = False
        self._waiting: deque[_Waiter] = deque()

    def __repr__(self) -> str:
        how = "alone" if self._alone else f"by {self._holders}"
        return f"<SharedLock held {how}, {len(self._waiting)} waiting>"

    @property
    def held_alone(self) -> bool:
        """Whether whoever holds it shares it with nobody."""
        return self._alone

    async def acquire(self, *, shared: bool | Wish = False) -> None:
        """Waits until it is ours, with others (``shared``) or alone.

        Cancellation: atomic; it is not taken.
        """
        wish = shared if callable(shared) else partial(bool, shared)
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self.acquire_nowait(shared=wish())
        except trio.WouldBlock:
            await self._wait(wish)
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()

    def acquire_nowait(self, *, shared: bool = False) -> None:
        """Takes it if nobody is in the way or waits for it, else ``trio.WouldBlock``."""
        if self._waiting or not self._admits(shared=shared):
            raise trio.WouldBlock
        self._take(shared=shared)

    async def _wait(self, wish: Wish) -> None:
        waiter = _Waiter(wish)
        self._waiting.append(waiter)
        try:
            await waiter.admitted.wait()
        except trio.Cancelled:
            if waiter.admitted.is_set():
                self.release()
            else:
                self._waiting.remove(waiter)
                self._admit_next()  # those behind may have waited for this one only
            raise

    def release(self) -> None:
        """Gives it up; the next are let in."""
        self._holders -= 1
        self._alone = False
        self._admit_next()

    def share(self) -> None:
        """Whoever holds it alone lets in those who share."""
        self._alone = False
        self._admit_next()

    async def __aenter__(self) -> None:
        """Holds it alone.

        Cancellation: atomic; it is not taken.
        """
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        """Gives it up.

        Cancellation: atomic; does not wait.
        """
        self.release()

    def _admits(self, *, shared: bool) -> bool:
        return self._holders == 0 or (shared and not self._alone)

    def _take(self, *, shared: bool) -> None:
        self._holders += 1
        self._alone = not shared

    def _admit_next(self) -> None:
        while self._waiting:
            together = self._waiting[0].wish()
            if not self._admits(shared=together):
                return
            self._take(shared=together)
            self._waiting.popleft().admitted.set()
