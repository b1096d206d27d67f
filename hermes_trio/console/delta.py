"""PURE. What one watcher is sent: the rows that changed since it last heard, as many as its share of bytes.

A watcher looks at some *sections* of the state and hears of no others. Rows are sent oldest change first, so
each of them comes to its turn; those that did not fit are counted as ``late`` and come next time, in the
state that they have then. Lines of a feed that do not fit are gone, and counted as dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import orjson
from attrs import define, field

from hermes_trio.console.changes import Cursor, Table
from hermes_trio.console.feed import Feed
from hermes_trio.console.state import LiveState

TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "trajectories": ("trajectories", "daemons"),
    "slots": ("slots", "daemons"),
    "figures": ("daemons",),
    "events": ("daemons",),
    "wire": ("daemons",),
}
"""Section -> the tables that belong to it. Daemons are few, and in the page's head."""

MAX_LINES: Final = 400
"""Of a feed in one message."""
FIGURES_EVERY_S: Final = 1.0
HEAD_BYTES: Final = 200
"""Of a message, besides what is in it."""


class Feeds(NamedTuple):
    """The streams of lines."""

    events: Feed
    wire: Feed


@define(eq=False)
class Watcher:
    """One connection's place in everything that changes.

    Attributes:
        sections: what it looks at.
        trajectory: whose calls it looks at; ``None``: nobody's.
    """

    sections: frozenset[str] = frozenset()
    trajectory: str | None = None
    _cursors: dict[str, Cursor] = field(factory=dict, init=False)
    _lines: dict[str, int] = field(factory=dict, init=False)
    _dropped: dict[str, int] = field(factory=dict, init=False)
    _figures_at: float = field(default=-FIGURES_EVERY_S, init=False)
    _detail: bytes = field(default=b"", init=False)

    def look_at(self, sections: Iterable[str], *, trajectory: str | None, feeds: Feeds) -> None:
        """Look at other sections from now on. Unknown ones are passed over."""
        before = self.sections
        self.sections = frozenset(sections) & TABLES.keys()
        self.trajectory, self._detail = trajectory, b""
        if "figures" in self.sections - before:
            self._figures_at = -FIGURES_EVERY_S
        for name, feed in zip(Feeds._fields, feeds, strict=True):
            if name in self.sections - before:
                self._lines[name], self._dropped[name] = feed.before(MAX_LINES), 0

    def message(self, state: LiveState, feeds: Feeds, *, now: float, max_bytes: int) -> bytes:
        """The next message, of at most about so many bytes. Always one: it tells the time."""
        parts = [b'{"t":"tick","now":%.3f' % now]
        room = max_bytes - HEAD_BYTES
        room -= self._add_figures(parts, state, now)
        room -= self._add_detail(parts, state)
        for name, feed in zip(Feeds._fields, feeds, strict=True):
            room -= self._add_lines(parts, name, feed, room // 2)
        self._add_tables(parts, state, room)
        parts.append(b"}")
        return b"".join(parts)

    # --- tables ---------------------------------------------------------------------------------------

    def _add_tables(self, parts: list[bytes], state: LiveState, room: int) -> None:
        tables: dict[str, Table[Any]] = {
            "daemons": state.daemons,
            "slots": state.slots,
            "trajectories": state.trajectories,
        }
        watched = {name for section in self.sections for name in TABLES[section]}
        if any(
            name in self._cursors and table.needs_to_begin(self._cursors[name])
            for name, table in tables.items()
        ):
            parts.append(b',"reset":true')
            self._cursors.clear()
        rows, gone, late = [], [], 0
        for name, table in tables.items():
            if name not in watched:
                continue
            there, left, behind, used = self._rows(name, table, room)
            room, late = room - used, late + behind
            if there:
                rows.append(b'"%s":[%s]' % (name.encode(), b",".join(there)))
            if left:
                gone.append(b'"%s":%s' % (name.encode(), orjson.dumps(left)))
        if rows:
            parts.append(b',"rows":{%s}' % b",".join(rows))
        if gone:
            parts.append(b',"gone":{%s}' % b",".join(gone))
        if late:
            parts.append(b',"late":%d' % late)

    def _rows(self, name: str, table: Table[Any], room: int) -> tuple[list[bytes], list[str], int, int]:
        """Rows, keys of rows that are gone, how many more have changed, and the bytes of all that."""
        cursor = self._cursors.get(name)
        if cursor is None:
            cursor = self._cursors[name] = Cursor()
            table.begin(cursor)
        there, left, used = list[bytes](), list[str](), 0
        changes = list(table.since(cursor))
        for at, (version, key) in enumerate(changes):
            row = table.rows.get(key)
            data = orjson.dumps(key if row is None else row.row())
            if used + len(data) + 1 > room:
                return there, left, len(changes) - at, used
            used += len(data) + 1
            if row is None:
                left.append(key)
            else:
                there.append(data)
            cursor.version = version
        return there, left, 0, used

    # --- the rest -------------------------------------------------------------------------------------

    def _add_figures(self, parts: list[bytes], state: LiveState, now: float) -> int:
        """Everybody hears the last figures once a second; the curves go to those who look at them."""
        if now - self._figures_at < FIGURES_EVERY_S:
            return 0
        self._figures_at = now
        data = orjson.dumps(state.figures() if "figures" in self.sections else state.summary())
        parts.append(b',"figures":' + data)
        return len(data)

    def _add_detail(self, parts: list[bytes], state: LiveState) -> int:
        if self.trajectory is None:
            return 0
        data = orjson.dumps(state.detail(self.trajectory))
        if data == self._detail:
            return 0
        self._detail = data
        parts.append(b',"detail":' + data)
        return len(data)

    def _add_lines(self, parts: list[bytes], name: str, feed: Feed, room: int) -> int:
        if name not in self.sections:
            return 0
        cursor = self._lines.get(name, feed.last)
        fitting, used = list[bytes](), 0
        for row in reversed(feed.since(cursor, MAX_LINES)):
            data = orjson.dumps(row)
            if used + len(data) + 1 > room:
                break
            used += len(data) + 1
            fitting.append(data)
        self._dropped[name] = self._dropped.get(name, 0) + (feed.last - cursor) - len(fitting)
        self._lines[name] = feed.last
        if fitting:
            fitting.reverse()
            parts.append(b',"%s":[%s]' % (name.encode(), b",".join(fitting)))
        if self._dropped[name]:
            parts.append(b',"%s_dropped":%d' % (name.encode(), self._dropped[name]))
        return used
