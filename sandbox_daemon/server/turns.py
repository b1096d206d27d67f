"""Who may use a slot now: calls of one slot run one after another, in the order of their frames.

Calls that share run side by side, as long as no call that does not share is before them.

The place in the queue is taken synchronously, when the frame is read; tasks that are started in one tick run
in no particular order, so waiting for a lock inside the task would lose the promise.
"""

from __future__ import annotations

from collections import deque

import trio
from attrs import define, field

from hermes_trio.wire.frames import SlotId


@define(eq=False)
class Turn:
    """A place in one slot's queue. Must be left exactly once, however its call ends."""

    slot: SlotId
    shared: bool = False
    _begun: trio.Event = field(factory=trio.Event)

    @property
    def is_now(self) -> bool:
        """Nobody is before us any more."""
        return self._begun.is_set()

    async def wait_now(self) -> None:
        """Wait for the turn.

        Cancellation: atomic; the place must still be left.
        """
        await self._begun.wait()

    def begin(self) -> None:
        """Those before us have left."""
        self._begun.set()


class Turnstile:
    """The queues of all slots of one peer. The head of each queue is the one whose turn it is."""

    def __init__(self) -> None:
        self._queues: dict[SlotId, deque[Turn]] = {}

    def __repr__(self) -> str:
        waiting = sum(not turn.is_now for queue in self._queues.values() for turn in queue)
        return f"<Turnstile {len(self._queues)} slots in use, {waiting} calls waiting>"

    def enter(self, slot: SlotId, *, shared: bool = False) -> Turn:
        """Queue up, behind all who did so before."""
        queue = self._queues.setdefault(slot, deque())
        turn = Turn(slot, shared)
        queue.append(turn)
        _begin_first(queue)
        return turn

    def leave(self, turn: Turn) -> None:
        """Give up the turn, or the place in the queue if the turn had not come."""
        queue = self._queues[turn.slot]
        queue.remove(turn)  # at the head, but for a call that was cancelled while it waited
        if queue:
            _begin_first(queue)
        else:
            del self._queues[turn.slot]


def _begin_first(queue: deque[Turn]) -> None:
    """The head has its turn, and with it all that share with it."""
    for turn in queue:
        if not turn.is_now:
            if turn is not queue[0] and not (turn.shared and queue[0].shared):
                return
            turn.begin()
        if not turn.shared:
            return
