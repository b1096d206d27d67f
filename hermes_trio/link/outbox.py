"""PURE. What waits to be put on a link, in fair order: control first, then round-robin by lane.

A lane is whatever must not starve its neighbours: a trajectory on the executor's side, a call on the
daemon's. Within a lane the order is first in, first out, and that order is a promise: calls of one
trajectory run in the order in which they were posted. Every operation is O(1).

An entry is a function that writes itself into the session when its turn comes. Until then it is not
encoded and holds no call id, so withdrawing it costs nothing and leaves nothing behind.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from attrs import define, field

from hermes_trio.errors import BusyError
from hermes_trio.wire.session import Session

CONTROL: Hashable = None
"""The lane that goes before all others: cancels, results of refused calls, goodbye."""


@define(eq=False)
class Posting:
    """One entry of an outbox; the poster keeps it to withdraw it."""

    write: Callable[[Session], object] = field(repr=False)
    lane: Hashable
    waiting: bool = True
    """In the outbox: neither taken nor withdrawn."""


_Queue = OrderedDict[Posting, None]


class Outbox:
    """A bounded queue of postings, fair across lanes.

    Args:
        max_entries: how many postings may wait; one more raises ``BusyError``. Control is exempt: it is
            bounded by what it speaks about (one cancel for each call, one result for each call).
    """

    def __init__(self, *, max_entries: int) -> None:
        self._max_entries = max_entries
        self._control: _Queue = OrderedDict()
        self._lanes: OrderedDict[Hashable, _Queue] = OrderedDict()  # none is empty; the next turn's first
        self._count = 0

    def __len__(self) -> int:
        """Postings that wait."""
        return self._count

    def __repr__(self) -> str:
        return f"<Outbox {self._count}/{self._max_entries} waiting in {len(self._lanes)} lanes>"

    def put(self, write: Callable[[Session], object], *, lane: Hashable = CONTROL) -> Posting:
        """Queue an entry.

        Raises:
            BusyError: ``max_entries`` are waiting and this is not control.
        """
        posting = Posting(write, lane)
        if lane is CONTROL:
            self._control[posting] = None
        else:
            if self._count >= self._max_entries:
                raise BusyError(f"{self._max_entries} calls are already waiting for the link")
            self._lanes.setdefault(lane, OrderedDict())[posting] = None
        self._count += 1
        return posting

    def withdraw(self, posting: Posting) -> bool:
        """Take an entry back. Returns whether it was still here: False means it was, or will be, sent."""
        if not posting.waiting:
            return False
        posting.waiting = False
        self._count -= 1
        if posting.lane is CONTROL:
            del self._control[posting]
            return True
        queue = self._lanes[posting.lane]
        del queue[posting]
        if not queue:
            del self._lanes[posting.lane]
        return True

    def take(self, *, control_only: bool = False) -> Posting | None:
        """The next entry in fair order, or ``None`` when nothing waits (of control, if only that may go)."""
        if self._control:
            posting, _ = self._control.popitem(last=False)
        elif self._lanes and not control_only:
            lane, queue = self._lanes.popitem(last=False)
            posting, _ = queue.popitem(last=False)
            if queue:
                self._lanes[lane] = queue  # behind all others
        else:
            return None
        posting.waiting = False
        self._count -= 1
        return posting
