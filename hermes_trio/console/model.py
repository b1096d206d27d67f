"""PURE. What the console knows of calls, trajectories, slots and daemons, and the rows it makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field, frozen

from hermes_trio.console.masking import mask_text
from hermes_trio.telemetry.events import CallPhase, DaemonState, LeaseState

MAX_SUMMARY: Final = 120
"""Characters of a command in a row; the whole one, as far as events carry it, is in the call's details."""


@define(eq=False, kw_only=True)
class LiveCall:
    """A call that is under way, or was: then ``ended`` is set."""

    number: int
    trajectory: str
    tool: str
    uniq_id: str
    turn: int
    summary: str
    entered: float
    limit_s: float | None = None
    slot_bound: bool = True
    phase: CallPhase = CallPhase.QUEUED
    since: float
    daemon: str = ""
    slot: str = ""
    pid: int | None = None
    marks: list[tuple[str, float]] = field(factory=list)
    """Phases that are over, and when each ended."""
    provenance: str = ""
    error: str = ""
    _shown: str | None = field(default=None, init=False)

    def shown(self) -> str:
        """Its summary as people may see it."""
        if self._shown is None:
            self._shown = mask_text(self.summary)
        return self._shown

    def move(self, phase: CallPhase, at: float) -> None:
        """The next phase begins, and the present one is over."""
        self.marks.append((self.phase, at))
        self.phase, self.since = phase, at

    def began_before(self, at: float) -> None:
        """The present phase began no later than this, and the one before it was over then."""
        if self.marks:
            earlier = self.marks[-2][1] if len(self.marks) > 1 else self.entered
            at = max(at, earlier)
            self.marks[-1] = (self.marks[-1][0], at)
        self.since = at

    def row(self) -> list[Any]:
        """Of the tree."""
        return [
            self.number,
            self.turn,
            self.tool,
            self.phase.value,
            round(self.since, 3),
            round(self.entered, 3),
            self.limit_s,
            self.pid,
            self.shown()[:MAX_SUMMARY],
        ]

    def details(self) -> dict[str, Any]:
        """Of the waterfall."""
        marks = self.marks if self.provenance else [*self.marks, (self.phase.value, None)]
        return {
            "number": self.number,
            "turn": self.turn,
            "tool": self.tool,
            "summary": self.shown(),
            "provenance": self.provenance,
            "error": self.error,
            "daemon": self.daemon,
            "slot": self.slot,
            "pid": self.pid,
            "limit_s": self.limit_s,
            "entered": self.entered,
            "phases": [list(mark) for mark in marks],
        }


@frozen
class Wait:
    """What a trajectory does now, since when, and what it waits for."""

    state: str
    since: float
    on: str


@define(eq=False, kw_only=True)
class Trajectory:
    """A trajectory that is alive: it was begun and has not ended, or has a slot, or calls under way."""

    id: str
    started: float
    nursery: str = ""
    announced: bool = False
    """A rollout told of it, and will tell of its end."""
    turn: int = 0
    model_since: float | None = None
    lease: LeaseState | None = None
    lease_since: float = 0.0
    daemon: str = ""
    slot: str = ""
    calls: int = 0
    errors: int = 0
    idle_since: float
    live: dict[int, LiveCall] = field(factory=dict)

    @property
    def is_over(self) -> bool:
        """Nothing keeps it here."""
        holds = self.lease not in (None, LeaseState.RELEASED, LeaseState.QUARANTINED)
        return not (self.announced or self.live or holds)

    def wait(self) -> Wait:
        """What it does now."""
        if self.live:
            return self._wait_of_call(next(iter(self.live.values())))
        if self.model_since is not None:
            return Wait("model", self.model_since, f"the model's answer, turn {self.turn}")
        match self.lease:
            case LeaseState.LOST:
                return Wait("lost", self.lease_since, "to be released: its slot is gone")
            case LeaseState.RELEASING:
                return Wait("releasing", self.lease_since, f"slot {self.slot} to be wiped")
            case _:
                return Wait("idle", self.idle_since, "its owner's next call")

    def _wait_of_call(self, call: LiveCall) -> Wait:
        match call.phase:
            case CallPhase.QUEUED:
                on = self._queue(call)
            case CallPhase.PACKED:
                on = f"the link to {call.daemon}"
            case CallPhase.ON_THE_WIRE:
                on = f"{call.daemon}, which has it or is about to"
            case _:
                on = f"pid {call.pid}" if call.pid else call.tool
        return Wait(call.phase.value, call.since, on)

    def _queue(self, call: LiveCall) -> str:
        if not call.slot_bound:
            return f"{call.tool} to begin"
        match self.lease:
            case LeaseState.ACQUIRING:
                return f"{self.daemon} to give a slot"
            case LeaseState.RELEASING:
                return f"slot {self.slot} to be wiped"
            case LeaseState.LEASED:
                return f"its turn in slot {self.slot}"
            case _:
                return "a free slot"

    def row(self) -> list[Any]:
        """Of the tree."""
        wait = self.wait()
        return [
            self.id,
            self.nursery,
            wait.state,
            self.turn,
            round(wait.since, 3),
            round(self.started, 3),
            self.daemon,
            self.slot,
            wait.on,
            self.calls,
            self.errors,
            [call.row() for call in self.live.values()],
        ]


@define(eq=False, kw_only=True)
class Slot:
    """A slot that was leased at least once since the console looks."""

    daemon: str
    name: str
    state: str
    since: float
    owner: str = ""

    @property
    def key(self) -> str:
        """Unique in the fleet."""
        return f"{self.daemon}/{self.name}"

    def row(self) -> list[Any]:
        """Of the grid."""
        return [self.key, self.daemon, self.name, self.state, self.owner, round(self.since, 3)]


@define(eq=False, kw_only=True)
class Daemon:
    """A daemon that is, or was, part of the fleet."""

    name: str
    state: DaemonState
    since: float
    slots: int = 0
    leased: int = 0
    queued: int = 0
    under_way: int = 0
    url: str = ""
    reason: str = ""
    traffic: Mapping[str, int] = field(factory=dict)

    def row(self) -> list[Any]:
        """Of the daemons' list."""
        return [
            self.name,
            self.state.value,
            self.slots,
            self.leased,
            self.traffic.get("queued", 0),
            self.under_way,
            self.traffic.get("bytes_sent", 0),
            self.traffic.get("bytes_received", 0),
            self.url,
            self.reason,
            round(self.since, 3),
        ]
