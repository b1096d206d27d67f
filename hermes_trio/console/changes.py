"""PURE. Which rows of a table have changed since somebody last looked: a log that cannot grow.

Theory of operation. Each change of a row gets the next version number, and moves the row to the end of an
ordered mapping. Whoever watches remembers one number, the version of the last row it was sent (its
*cursor*), and is given the rows behind it, oldest first, as many as it has room for. So a row that changes
a hundred times between two looks is sent once, a watcher that is slow costs nothing, and one that has just
come starts at 0 and gets everything.

A row that is gone stays in the log as a *tombstone*, so that watchers hear of it. Tombstones are bounded: the
oldest is forgotten first, and a watcher that had not come that far must begin again (:meth:`Cursor`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from attrs import define, field

Row = TypeVar("Row")

MAX_TOMBSTONES: Final = 4096


@define
class Cursor:
    """How far a watcher has come.

    Attributes:
        version: of the last row that it was sent.
        began: the table's version when it began (again).
    """

    version: int = 0
    began: int = 0


@define(eq=False)
class Table(Generic[Row]):
    """Rows by key, and the order of their last changes.

    Args:
        max_tombstones: rows that are gone and still told of.
    """

    max_tombstones: int = MAX_TOMBSTONES
    rows: dict[str, Row] = field(factory=dict, init=False)
    version: int = field(default=0, init=False)
    horizon: int = field(default=0, init=False)
    """Version of the last change that was forgotten."""
    _order: OrderedDict[str, int] = field(factory=OrderedDict, init=False)
    _tombstones: OrderedDict[str, None] = field(factory=OrderedDict, init=False)

    def touch(self, key: str, row: Row) -> None:
        """The row is new, or not what it was."""
        self.rows[key] = row
        self._tombstones.pop(key, None)
        self._move(key)

    def remove(self, key: str) -> None:
        """The row is gone. One that is not there is fine."""
        if self.rows.pop(key, None) is None:
            return
        self._move(key)
        self._tombstones[key] = None
        if len(self._tombstones) > self.max_tombstones:
            oldest, _ = self._tombstones.popitem(last=False)
            self.horizon = max(self.horizon, self._order.pop(oldest))

    def needs_to_begin(self, cursor: Cursor) -> bool:
        """Whether something was forgotten that a watcher has not heard of."""
        return cursor.version < self.horizon and cursor.began < self.horizon

    def begin(self, cursor: Cursor) -> None:
        """The watcher forgets all rows, and hears of each again."""
        cursor.version, cursor.began = 0, self.version

    def since(self, cursor: Cursor) -> Iterator[tuple[int, str]]:
        """Version and key of what has changed behind a cursor, oldest first."""
        behind = []
        for key in reversed(self._order):
            version = self._order[key]
            if version <= cursor.version:
                break
            behind.append((version, key))
        return reversed(behind)

    def _move(self, key: str) -> None:
        self.version += 1
        self._order[key] = self.version
        self._order.move_to_end(key)
