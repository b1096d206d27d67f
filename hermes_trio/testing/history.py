"""PURE. What was asked, what was answered, what was done: written down, and then judged.

In the manner of Jepsen: while a system is tormented, everybody writes down what he sees. Callers note each
call and its ending, ledgers note each effect, daemons each lease. Nobody judges on the way. In the end
:func:`violations` reads it all and names every promise that was broken:

* each call has one ending, or its caller left it;
* an effect happens once at most; once exactly when the call ended well; never when it says that it did not
  start;
* what a trajectory reads was written by itself, under the lease that it holds;
* the epochs of a slot only grow, and nobody gets it before the one before him is done;
* every slot that was leased is given back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from attrs import define, field, frozen

from hermes_trio.errors import Provenance

_DONE = frozenset({Provenance.OK, Provenance.TOOL_ERROR})
"""Endings that say: it ran, to its own end."""
_NEVER_BEGAN = frozenset({Provenance.DENIED, Provenance.INVALID_REQUEST, Provenance.UNAVAILABLE})


@frozen
class Ending:
    """How a call ended, as its caller was told."""

    provenance: Provenance
    outcome: str = ""
    """``not_started`` or ``unknown``, of a loss."""

    @property
    def ran(self) -> bool | None:
        """Whether it ran to its end; ``None``: the ending does not say."""
        if self.provenance in _DONE:
            return True
        return False if self.outcome == "not_started" or self.provenance in _NEVER_BEGAN else None


@define
class History:
    """Append-only notes. The order of notes about one thing is the order of time."""

    asked: dict[str, str] = field(factory=dict)
    """Call -> trajectory."""
    endings: dict[str, list[Ending]] = field(factory=dict)
    left: set[str] = field(factory=set)
    """Calls whose caller was cancelled."""
    effects: Counter[str] = field(factory=Counter)
    """Call -> how often its line stands in a ledger."""
    reads: list[tuple[str, str]] = field(factory=list)
    """Who read, and whose writing he saw."""
    leases: list[tuple[str, int, str]] = field(factory=list)
    """Slot, epoch, and ``leased`` or ``returned``."""

    def ask(self, call: str, *, trajectory: str) -> None:
        """A caller asks."""
        self.asked[call] = trajectory
        self.endings[call] = []

    def end(self, call: str, provenance: Provenance, outcome: str = "") -> None:
        """It was answered."""
        self.endings[call].append(Ending(provenance, outcome))

    def leave(self, call: str) -> None:
        """Its caller was cancelled."""
        self.left.add(call)

    def effect(self, call: str) -> None:
        """A ledger says that it ran."""
        self.effects[call] += 1

    def read(self, *, reader: str, writer: str) -> None:
        """Somebody found somebody's writing in his slot."""
        self.reads.append((reader, writer))

    def lease(self, slot: str, epoch: int) -> None:
        """A daemon gave a slot."""
        self.leases.append((slot, epoch, "leased"))

    def give_back(self, slot: str, epoch: int) -> None:
        """It has it back, wiped."""
        self.leases.append((slot, epoch, "returned"))


def violations(history: History) -> tuple[str, ...]:
    """Every promise that was broken, one line each; none: all were kept."""
    return (*_of_calls(history), *_of_effects(history), *_of_reads(history), *_of_leases(history))


def _of_calls(history: History) -> Iterator[str]:
    for call, endings in history.endings.items():
        if len(endings) > 1:
            yield f"call {call} ended {len(endings)} times: {[end.provenance.value for end in endings]}"
        elif not endings and call not in history.left:
            yield f"call {call} never ended"


def _of_effects(history: History) -> Iterator[str]:
    for call, count in history.effects.items():
        if call not in history.asked:
            yield f"call {call} had an effect, and nobody asked for it"
        elif count > 1:
            yield f"call {call} ran {count} times"
    for call, endings in history.endings.items():
        ran, count = endings[0].ran if endings else None, history.effects[call]
        if ran is True and not count:
            yield f"call {call} ended as {endings[0].provenance.value}, and there is nothing of it"
        elif ran is False and count:
            yield f"call {call} ended as one that never began, and it ran"


def _of_reads(history: History) -> Iterator[str]:
    for reader, writer in history.reads:
        if reader != writer:
            yield f"{reader} found in its slot what {writer} had written"


def _of_leases(history: History) -> Iterator[str]:
    held: dict[str, int] = {}
    last: dict[str, int] = {}
    for slot, epoch, what in history.leases:
        if what == "returned":
            held.pop(slot, None)
            continue
        if slot in held:
            yield f"slot {slot} was leased again (epoch {epoch}) while epoch {held[slot]} held it"
        if epoch <= last.get(slot, -1):
            yield f"the epoch of slot {slot} went from {last[slot]} to {epoch}"
        held[slot] = last[slot] = epoch
    for slot, epoch in held.items():
        yield f"slot {slot} (epoch {epoch}) was never given back"
