"""PURE. Which terminals an executor has started in its slots: for those who list and replay them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field, frozen

from hermes_trio.errors import Provenance
from hermes_trio.wire.frames import Result
from hermes_trio.wire.operations import Operation, TerminalAction


@frozen
class LiveTerminal:
    """A terminal of a slot.

    Args:
        number: counts an executor's terminals from 1.
        trajectory_id: whose slot.
        name: tells the terminals of a slot apart.
    """

    number: int
    trajectory_id: str
    name: str


@define(eq=False)
class TerminalBook:
    """Learns from the answers to calls. Bounded by the slots, each of which has a few terminals."""

    _known: dict[tuple[str, str], LiveTerminal] = field(factory=dict, init=False)
    _count: int = field(default=0, init=False)

    def note(
        self, trajectory_id: str, operation: str, arguments: Mapping[str, Any], result: Result | None
    ) -> None:
        """A call has ended: was it about a terminal? ``None``: nobody knows how it ended."""
        if operation != Operation.TERMINAL or result is None or result.provenance is not Provenance.OK:
            return
        key = trajectory_id, str(arguments.get("name", "main"))
        match arguments["action"]:
            case TerminalAction.START if result.data.get("started") is True or key not in self._known:
                self._count += 1
                self._known[key] = LiveTerminal(self._count, *key)
            case TerminalAction.STOP:
                self._known.pop(key, None)

    def alive(self, holds_slot: Callable[[str], bool]) -> tuple[LiveTerminal, ...]:
        """Those that were not stopped, in slots that are still held; the others are forgotten."""
        gone = [key for key in self._known if not holds_slot(key[0])]
        for key in gone:
            del self._known[key]
        return tuple(self._known.values())

    def forget(self, trajectory_id: str) -> None:
        """Its slot is given back."""
        for key in [key for key in self._known if key[0] == trajectory_id]:
            del self._known[key]
