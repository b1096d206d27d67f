"""PURE. A watcher's copy of the live state, made of the messages it is sent; in the page: ``store.ts``."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field

MAX_EVENTS: Final = 1000
TABLES: Final = ("trajectories", "slots", "daemons")

TRAJECTORY: Final = (
    *("id", "nursery", "state", "turn", "since", "started", "daemon", "slot", "waits_for"),
    *("calls", "errors", "live"),
)
CALL: Final = ("number", "turn", "tool", "phase", "since", "entered", "limit_s", "pid", "summary")
SLOT: Final = ("key", "daemon", "slot", "state", "owner", "since")
DAEMON: Final = (
    *("name", "state", "slots", "leased", "queued", "under_way", "bytes_sent", "bytes_received"),
    *("url", "reason", "since"),
)
EVENT: Final = ("number", "at", "kind", "trajectory", "call", "text", "level")
"""What the places of the rows are."""


@define(eq=False)
class Mirror:
    """Rows by key, figures, and the last events."""

    now: float = 0.0
    trajectories: dict[str, list[Any]] = field(factory=dict)
    slots: dict[str, list[Any]] = field(factory=dict)
    daemons: dict[str, list[Any]] = field(factory=dict)
    figures: dict[str, Any] = field(factory=dict)
    events: deque[list[Any]] = field(factory=lambda: deque(maxlen=MAX_EVENTS))
    late: int = 0

    def apply(self, message: Mapping[str, Any]) -> None:
        """Take one tick."""
        self.now = message["now"]
        if message.get("reset"):
            for name in TABLES:
                self._table(name).clear()
        for name, rows in message.get("rows", {}).items():
            self._table(name).update({row[0]: row for row in rows})
        for name, keys in message.get("gone", {}).items():
            for key in keys:
                self._table(name).pop(key, None)
        self.figures.update(message.get("figures", {}))
        self.events.extend(message.get("events", ()))
        self.late = message.get("late", 0)

    def _table(self, name: str) -> dict[str, list[Any]]:
        table: dict[str, list[Any]] = getattr(self, name)
        return table


def named(row: list[Any], names: tuple[str, ...]) -> dict[str, Any]:
    """A row as an object with names, for people's JSON."""
    told = dict(zip(names, row, strict=True))
    if "live" in told:
        told["live"] = [named(call, CALL) for call in told["live"]]
    return told


def named_snapshot(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """A whole snapshot, likewise."""
    tables = {"trajectories": TRAJECTORY, "slots": SLOT, "daemons": DAEMON}
    return {
        **snapshot,
        **{name: [named(row, names) for row in snapshot[name]] for name, names in tables.items()},
    }
