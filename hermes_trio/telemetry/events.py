"""PURE. What can happen in a runtime that somebody may want to watch, and its one JSON form.

Theory of operation. An event is small, frozen and flat: its members are texts, numbers, truths and nulls.
So it costs little to make, can be kept in great numbers, and has one JSON form, by one function each way:
``{"type": "call_queued", "sequence": 7, "at_s": 12.5, ...}``.

Events are *deltas*. A snapshot (``Executor.snapshot()``) is given as events too: those which, applied to an
empty state, make the present one. Whoever watches needs one reducer: apply the snapshot, then every event
with a higher sequence number. A number that is missing says that events were lost on the way to this
listener; the remedy is another snapshot.

Identities: ``call`` counts an executor's calls from 1; ``run`` counts the agent loops' runs; a trajectory is
named as its user named it; a daemon by its endpoint's name; a slot by the daemon's word for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import attrs
from attrs import frozen

from hermes_trio.errors import InvalidInputError, Provenance

MAX_TEXT: Final = 500
"""Characters of an error or a reason in an event: enough to be understood, too few to carry output."""


def bounded_text(text: str) -> str:
    """A text fit for an event."""
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


# --- calls ------------------------------------------------------------------------------------------------


class CallPhase(StrEnum):
    """Where a call is; each phase is begun by the event of the same name."""

    QUEUED = "queued"
    """It waits: for its trajectory's earlier calls, a slot, room on the link. Free to be taken back."""
    PACKED = "packed"
    """It has an id and bytes, in a message that is being sent."""
    ON_THE_WIRE = "on_the_wire"
    """Its message was handed to the link whole."""
    RUNNING = "running"
    """The daemon said so, or, for a tool of this process and an external one, it was begun."""
    ENDED = "ended"


@frozen(kw_only=True)
class CallQueued:
    """A call walked in."""

    call: int
    trajectory: str
    tool: str
    uniq_id: str
    limit_s: float
    slot_bound: bool
    """It runs in the trajectory's slot; otherwise here, or at a ToolServer."""
    summary: str = ""
    """The beginning of what it does: the command, the path."""


@frozen(kw_only=True)
class CallPacked:
    """A call was written into a message for its daemon."""

    call: int
    daemon: str
    slot: str


@frozen(kw_only=True)
class CallOnTheWire:
    """The message that carries a call was handed to the link."""

    call: int


@frozen(kw_only=True)
class CallRunning:
    """A call has begun."""

    call: int
    pid: int | None = None
    """The process on the daemon's side, if there is one and it was told."""


@frozen(kw_only=True)
class CallEnded:
    """A call is over: by its result, or because its caller left (``cancelled``)."""

    call: int
    trajectory: str
    tool: str
    provenance: Provenance
    success: bool
    latency_s: float
    """From being queued."""
    queue_s: float | None = None
    """Of it, before being packed; ``None``: it never was."""
    run_s: float | None = None
    """Of it, running at the daemon; ``None``: nothing ran, or nobody told."""
    output_bytes: int | None = None
    """Printed in all, standard error included."""
    error: str = ""


# --- slots, leases, daemons, links ------------------------------------------------------------------------


class LeaseState(StrEnum):
    """How a trajectory stands to its slot."""

    WAITING = "waiting"
    """No daemon has a place."""
    ACQUIRING = "acquiring"
    """A daemon was asked."""
    LEASED = "leased"
    RELEASING = "releasing"
    """The daemon kills and wipes; the place counts as taken."""
    RELEASED = "released"
    """Over: the slot is ready for somebody else."""
    QUARANTINED = "quarantined"
    """Over: the slot could not be shown to be clean and has left service."""
    LOST = "lost"
    """Over: the slot went, and the trajectory's workspace with it."""


@frozen(kw_only=True)
class LeaseChanged:
    """A trajectory's hold on a slot has changed."""

    trajectory: str
    state: LeaseState
    daemon: str = ""
    """Empty: none yet."""
    slot: str = ""
    """Empty: none yet, or none any more."""
    reason: str = ""


@frozen(kw_only=True)
class SlotMended:
    """A slot that had left service was shown to be clean and is back."""

    daemon: str
    slot: str


class DaemonState(StrEnum):
    """How a daemon stands to this executor."""

    UP = "up"
    PAUSED = "paused"
    """Silent, or without a link: it gets nobody new, and keeps what it has."""
    DRAINING = "draining"
    DOWN = "down"
    """The session is over; whatever was there is lost."""


@frozen(kw_only=True)
class DaemonChanged:
    """A daemon joined, left, or is trusted more or less than before."""

    daemon: str
    state: DaemonState
    slots: int | None = None
    """Told when it comes up."""
    url: str = ""
    reason: str = ""


class LinkState(StrEnum):
    """How a link stands."""

    OPEN = "open"
    RESUMED = "resumed"
    """Open, and it took up the session of the link before."""
    LOST = "lost"


@frozen(kw_only=True)
class LinkChanged:
    """A link to a daemon was opened, took a session up again, or was lost."""

    daemon: str
    state: LinkState
    reason: str = ""


# --- agents and rollouts ----------------------------------------------------------------------------------


@frozen(kw_only=True)
class TrajectoryBegan:
    """A rollout began. Trajectories of other origins show by their calls, leases and turns."""

    trajectory: str
    task: str = ""
    group: str = ""
    index: int | None = None
    """Its place in its group, from 0."""
    limit_s: float | None = None


@frozen(kw_only=True)
class TrajectoryEnded:
    """And ended."""

    trajectory: str
    provenance: Provenance
    stage: str = ""
    solved: bool | None = None
    turns: int = 0
    error: str = ""


@frozen(kw_only=True)
class TurnBegan:
    """An agent loop began a turn."""

    trajectory: str
    run: int
    turn: int
    """From 1."""
    limit_s: float | None = None


@frozen(kw_only=True)
class TurnEnded:
    """And ended it: every call of it is answered."""

    trajectory: str
    run: int
    turn: int
    calls: int = 0
    errors: int = 0


@frozen(kw_only=True)
class ModelCallBegan:
    """A model was asked."""

    trajectory: str
    run: int
    turn: int
    messages: int


@frozen(kw_only=True)
class ModelCallEnded:
    """And answered, failed, or was given up."""

    trajectory: str
    run: int
    turn: int
    provenance: Provenance
    latency_s: float
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tool_calls: int = 0
    error: str = ""


# --- failures ---------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class FailureNoted:
    """Something went wrong that is no call's own ending: who failed, and where."""

    where: str
    """A room and a name: ``fleet:daemon-0``, ``loop``."""
    provenance: Provenance
    error: str


Event = (
    CallQueued
    | CallPacked
    | CallOnTheWire
    | CallRunning
    | CallEnded
    | LeaseChanged
    | SlotMended
    | DaemonChanged
    | LinkChanged
    | TrajectoryBegan
    | TrajectoryEnded
    | TurnBegan
    | TurnEnded
    | ModelCallBegan
    | ModelCallEnded
    | FailureNoted
)


@frozen
class Stamped:
    """An event, its number and its moment.

    Args:
        sequence: counts a bus's events from 1. In a snapshot: that of the last event it contains.
        at_s: seconds on the executor's clock, which begins anywhere and never jumps; see
            :attr:`Snapshot.unix_time_s`.
        event: what happened.
    """

    sequence: int
    at_s: float
    event: Event


@frozen(kw_only=True)
class Snapshot:
    """The present state, as the events that make it.

    Args:
        sequence: of the last event that it contains: go on with the next.
        at_s: when it was taken, on the executor's clock.
        unix_time_s: the same moment on the world's clock.
        events: in an order in which they can be applied.
    """

    sequence: int
    at_s: float
    unix_time_s: float
    events: tuple[Stamped, ...]

    def to_mapping(self) -> dict[str, Any]:
        """JSON values only."""
        return {
            "sequence": self.sequence,
            "at_s": self.at_s,
            "unix_time_s": self.unix_time_s,
            "events": [to_mapping(each) for each in self.events],
        }


# --- the JSON form ----------------------------------------------------------------------------------------


def _tag(kind: type) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


TAGS: Final[Mapping[type, str]] = {kind: _tag(kind) for kind in get_args(Event)}
"""Each class and its ``type`` in JSON."""

KINDS: Final[Mapping[str, type[Any]]] = {tag: kind for kind, tag in TAGS.items()}
_NAMES: Final = {kind: tuple(field.name for field in attrs.fields(kind)) for kind in TAGS}
_TYPES: Final = {kind: get_type_hints(kind) for kind in TAGS}


def to_mapping(stamped: Stamped) -> dict[str, Any]:
    """JSON values only, each member told; :func:`from_mapping` is the way back."""
    event = stamped.event
    head = {"type": TAGS[type(event)], "sequence": stamped.sequence, "at_s": stamped.at_s}
    return head | {name: getattr(event, name) for name in _NAMES[type(event)]}


def from_mapping(mapping: Mapping[str, Any]) -> Stamped:
    """Read what :func:`to_mapping` wrote.

    Members that this version does not know are passed over: a recording may come from a newer one.

    Raises:
        InvalidInputError: it is no event; ``field`` names the member.
    """
    tag = mapping.get("type")
    kind = KINDS.get(tag) if isinstance(tag, str) else None
    if kind is None:
        raise InvalidInputError(f"no event is called {str(tag)[:64]!r}", field="type")
    members = {
        name: _read(mapping[name], wanted, name) for name, wanted in _TYPES[kind].items() if name in mapping
    }
    try:
        event = kind(**members)
    except TypeError:
        missing = next(
            f.name for f in attrs.fields(kind) if f.default is attrs.NOTHING and f.name not in members
        )
        raise InvalidInputError("is missing", field=missing) from None
    return Stamped(
        _read(mapping.get("sequence"), int, "sequence"), _read(mapping.get("at_s"), float, "at_s"), event
    )


def _read(value: Any, wanted: Any, name: str) -> Any:
    """A member of the wanted type; truths are no numbers, and whole numbers are numbers."""
    options = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    for option in options:
        if isinstance(option, type) and issubclass(option, StrEnum):
            if isinstance(value, str) and any(value == each.value for each in option):
                return option(value)
        elif option is float and type(value) is int:
            return float(value)
        elif type(value) is option:
            return value
    raise InvalidInputError(f"cannot be {str(value)[:64]!r}", field=name)
