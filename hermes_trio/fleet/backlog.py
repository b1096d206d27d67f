"""Calls that a daemon was too busy to take: held here, in order, until it is worth asking again.

Theory of operation. A busy daemon answers a call of a slot at once, with a hint when to come back, and from
then on answers every call of that slot in the same way, until one comes that says ``again``: calls that were
on their way already must not overtake the one that was sent back. This side holds what is sent back and what
is asked for meanwhile; when the hint has passed and nothing of the slot is under way any more, all of it is
sent again in the order of asking, the first one marked. The time of waiting is not charged to any call's
limit: that begins when the daemon has begun with it.
"""

from __future__ import annotations

from collections.abc import Iterable

from hermes_trio.fleet.calls import CallRecord
from hermes_trio.wire.frames import Lease


class Backlog:
    """The calls that wait, by slot."""

    def __init__(self) -> None:
        self._lines: dict[Lease, list[CallRecord]] = {}

    def __len__(self) -> int:
        """How many calls wait."""
        return sum(map(len, self._lines.values()))

    def holds_up(self, record: CallRecord) -> bool:
        """Whether this call must wait behind others of its slot."""
        return record.lease in self._lines

    def add(self, record: CallRecord) -> None:
        """Hold a call that was sent back, or that must wait behind such."""
        assert record.lease is not None
        self._lines.setdefault(record.lease, []).append(record)

    def remove(self, record: CallRecord) -> bool:
        """Its caller does not want it any more. False: it is not here."""
        line = self._lines.get(record.lease, []) if record.lease else []
        if record not in line:
            return False
        line.remove(record)
        return True

    def drop(self, lease: Lease | None) -> list[CallRecord]:
        """The slot is given back: what waited for it."""
        return self._lines.pop(lease, []) if lease else []

    def clear(self) -> list[CallRecord]:
        """Everything."""
        lines, self._lines = self._lines, {}
        return [record for line in lines.values() for record in line]

    def due(self, under_way: Iterable[CallRecord]) -> list[CallRecord]:
        """Those to be sent again now: of each slot all, in the order of asking, or none."""
        busy = {record.lease for record in under_way}
        ready = []
        for lease in [lease for lease in self._lines if lease not in busy]:
            line = sorted(self._lines.pop(lease), key=lambda record: record.number)
            for place, record in enumerate(line):
                record.again = place == 0
            ready += line
        return ready
