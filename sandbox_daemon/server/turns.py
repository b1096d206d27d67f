"""Who may use a slot now: calls of one slot run one after another, in the order of their frames.

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
        waiting = sum(len(queue) - 1 for queue in self._queues.values())
        return f"<Turnstile {len(self._queues)} slots in use, {waiting} calls waiting>"

    def enter(self, slot: SlotId) -> Turn:
        """Queue up, behind all who did so before."""
        queue = self._queues.setdefault(slot, deque())
        turn = Turn(slot)
        queue.append(turn)
        if len(queue) == 1:
            turn.begin()
        return turn

    def leave(self, turn: Turn) -> None:
        """Give up the turn, or the place in the queue if the turn had not come."""
        queue = self._queues[turn.slot]
        queue.remove(turn)  # at the head, but for a call that was cancelled while it waited
        if not queue:
            del self._queues[turn.slot]
        elif not queue[0].is_now:
            queue[0].begin()
