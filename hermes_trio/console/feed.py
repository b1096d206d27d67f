"""PURE. Lines that stream by: a ring that forgets its oldest, for any number of watchers; events as lines."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field

from hermes_trio.console.masking import mask_text
from hermes_trio.console.model import LiveCall
from hermes_trio.errors import Provenance
from hermes_trio.telemetry.events import (
    CallEnded,
    DaemonChanged,
    DaemonState,
    FailureNoted,
    LeaseChanged,
    LeaseState,
    LinkChanged,
    LinkState,
    ModelCallEnded,
    Stamped,
    to_mapping,
)

MAX_LINES: Final = 4000
MAX_TEXT: Final = 300


@define(eq=False)
class Feed:
    """Lines in order, the newest kept. A line is a row whose first member is its number.

    Args:
        max_lines: kept.
    """

    max_lines: int = MAX_LINES
    last: int = field(default=0, init=False)
    """Number of the newest line."""
    _lines: deque[list[Any]] = field(factory=deque, init=False)

    def add(self, row: list[Any]) -> None:
        """A line without its number, which is put before it."""
        self.last += 1
        self._lines.append([self.last, *row])
        if len(self._lines) > self.max_lines:
            self._lines.popleft()

    def skip(self, count: int) -> None:
        """So many lines were never made."""
        self.last += count

    def before(self, count: int) -> int:
        """The cursor behind which so many of the kept lines come, or as many as there are."""
        count = min(count, len(self._lines))
        return self._lines[-count][0] - 1 if count else self.last

    def since(self, cursor: int, most: int) -> list[list[Any]]:
        """At most so many of the lines behind a cursor, the newest ones. What is left out is gone."""
        found = list[list[Any]]()
        for line in reversed(self._lines):
            if line[0] <= cursor or len(found) >= most:
                break
            found.append(line)
        found.reverse()
        return found


_BAD: Final = frozenset(
    {
        *(LeaseState.QUARANTINED, LeaseState.LOST, DaemonState.DOWN, DaemonState.PAUSED, LinkState.LOST),
        *(each for each in Provenance if each.is_infrastructure),
    }
)
_LEFT_OUT: Final = frozenset(
    {"type", "sequence", "at_s", "call", "trajectory", "uniq_id", "slot_bound", "success", "run"}
)


def line_of(stamped: Stamped, calls: Mapping[int, LiveCall]) -> list[Any]:
    """An event as a row: moment, kind, trajectory, call, text, level.

    Args:
        stamped: the event.
        calls: those under way, which know the trajectories of events that do not say it.
    """
    members = to_mapping(stamped)
    number = members.get("call")
    known = calls.get(number) if isinstance(number, int) else None
    trajectory = members.get("trajectory") or (known.trajectory if known else "")
    told = ", ".join(
        _text(name, value)
        for name, value in members.items()
        if name not in _LEFT_OUT and value not in (None, "")
    )
    return [
        round(stamped.at_s, 3),
        members["type"],
        trajectory,
        number if isinstance(number, int) else None,
        mask_text(told)[:MAX_TEXT],
        _level(stamped.event),
    ]


def _text(name: str, value: object) -> str:
    """``latency_s 0.0123`` as ``latency 12.3 ms``; what is clear without its name goes without."""
    if name.endswith("_s") and isinstance(value, (int, float)):
        told = f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"
        return f"{name.removesuffix('_s').replace('_', ' ')} {told}"
    if name in ("tool", "provenance", "summary", "state", "error", "reason"):
        return str(value)
    return f"{name.replace('_', ' ')} {value}"


def _level(event: object) -> str:
    match event:
        case CallEnded() | ModelCallEnded():
            failed = event.provenance is not Provenance.OK
            return "error" if event.provenance in _BAD else "warning" if failed else "info"
        case LeaseChanged() | DaemonChanged() | LinkChanged():
            return "error" if event.state in _BAD else "info"
        case FailureNoted():
            return "error"
        case _:
            return "info"
