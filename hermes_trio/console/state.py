"""PURE. The live state: one reducer over a runtime's events, from which every view of the console is made.

Theory of operation. :meth:`LiveState.begin` takes a snapshot, :meth:`LiveState.apply` every event after it;
who lost events begins again. What is alive is in three tables (trajectories with their calls, slots,
daemons), each with a log of its changes; what is over is in histories of fixed size. A row is made from what
is known, when it is asked for: applying an event costs a few dictionary look-ups, however many watch.

Everything is bounded. More than ``max_trajectories`` are counted and not followed. An event about something
unknown (it began while the console did not look) is passed over: the next snapshot tells of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, assert_never

from attrs import define, field

from hermes_trio.console.changes import Table
from hermes_trio.console.history import CallHistory, Latencies
from hermes_trio.console.model import Daemon, LiveCall, Slot, Trajectory
from hermes_trio.telemetry.events import (
    CallEnded,
    CallOnTheWire,
    CallPacked,
    CallPhase,
    CallQueued,
    CallRunning,
    DaemonChanged,
    DaemonState,
    FailureNoted,
    LeaseChanged,
    LeaseState,
    LinkChanged,
    ModelCallBegan,
    ModelCallEnded,
    SlotMended,
    Snapshot,
    Stamped,
    TrajectoryBegan,
    TrajectoryEnded,
    TurnBegan,
    TurnEnded,
)

MAX_TRAJECTORIES: Final = 20_000
MAX_SAMPLES: Final = 600
"""Of the figures over time: one a second, ten minutes."""

_ORDER: Final = {phase: number for number, phase in enumerate(CallPhase)}
_SLOT_STATES: Final[Mapping[LeaseState, str]] = {
    LeaseState.LEASED: "leased",
    LeaseState.RELEASING: "dirty",
    LeaseState.RELEASED: "free",
    LeaseState.QUARANTINED: "quarantined",
    LeaseState.LOST: "quarantined",
}


@define(eq=False)
class LiveState:
    """What is alive, and what of the past is kept.

    Args:
        max_trajectories: followed at once.
    """

    max_trajectories: int = MAX_TRAJECTORIES
    now: float = field(default=0.0, init=False)
    """The moment of the last event or sample."""
    trajectories: Table[Trajectory] = field(factory=Table, init=False)
    slots: Table[Slot] = field(factory=Table, init=False)
    daemons: Table[Daemon] = field(factory=Table, init=False)
    history: CallHistory = field(factory=CallHistory, init=False)
    latencies: Latencies = field(factory=Latencies, init=False)
    samples: deque[list[float]] = field(factory=lambda: deque(maxlen=MAX_SAMPLES), init=False)
    counters: dict[str, int] = field(factory=dict, init=False)
    calls: dict[int, LiveCall] = field(factory=dict, init=False)
    """Those under way, by number."""
    unplaced: set[str] = field(factory=set, init=False)
    """Trajectories of which :meth:`place` has not been told."""
    _ended_since_sample: int = field(default=0, init=False)
    _sampled_at: float | None = field(default=None, init=False)

    def __repr__(self) -> str:
        return (
            f"<LiveState {len(self.trajectories.rows)} trajectories, {len(self.calls)} calls under way, "
            f"{len(self.slots.rows)} slots, {len(self.daemons.rows)} daemons>"
        )

    # --- events ---------------------------------------------------------------------------------------

    def begin(self, snapshot: Snapshot) -> None:
        """What is alive is what the snapshot says. What is over, and the figures, stay."""
        before = dict(self.trajectories.rows)
        for table in (self.trajectories, self.slots, self.daemons):
            for key in list(table.rows):
                table.remove(key)
        self.calls.clear()
        self.unplaced.clear()
        for stamped in snapshot.events:
            self.apply(stamped)
        for call in self.calls.values():  # a message is being packed for microseconds, and none is now
            if call.phase is CallPhase.PACKED:
                call.phase = CallPhase.ON_THE_WIRE
        self.now = snapshot.at_s
        for id_, known in self.trajectories.rows.items():
            if id_ in before:
                self._go_on(known, before[id_])

    def _go_on(self, now: Trajectory, before: Trajectory) -> None:
        """What a snapshot does not tell: where it runs, and its calls that are over."""
        now.calls, now.errors, now.nursery = before.calls, before.errors, before.nursery
        if now.nursery:
            self.unplaced.discard(now.id)

    def apply(self, stamped: Stamped) -> None:
        """One thing has happened."""
        event, at = stamped.event, stamped.at_s
        self.now = max(self.now, at)
        match event:
            case CallQueued():
                self._queued(event, at)
            case CallPacked() | CallOnTheWire() | CallRunning():
                self._moved(event, at)
            case CallEnded():
                self._ended(event, at)
            case LeaseChanged():
                self._leased(event, at)
            case SlotMended():
                self._slot(event.daemon, event.slot, "free", at)
            case DaemonChanged():
                self._daemon_changed(event, at)
            case LinkChanged() | FailureNoted():
                self._count("failures" if isinstance(event, FailureNoted) else f"links_{event.state.value}")
            case TrajectoryBegan() | TrajectoryEnded():
                self._rollout(event, at)
            case TurnBegan() | TurnEnded() | ModelCallBegan() | ModelCallEnded():
                self._agent(event, at)
            case _:
                assert_never(event)

    # --- calls ----------------------------------------------------------------------------------------

    def _queued(self, event: CallQueued, at: float) -> None:
        trajectory = self._trajectory(event.trajectory, at)
        if trajectory is None:
            return
        call = LiveCall(
            number=event.call,
            trajectory=event.trajectory,
            tool=event.tool,
            uniq_id=event.uniq_id,
            turn=trajectory.turn,
            summary=event.summary,
            entered=at,
            since=at,
            limit_s=event.limit_s or None,
            slot_bound=event.slot_bound,
        )
        self.calls[call.number] = trajectory.live[call.number] = call
        self._touch(trajectory)

    def _moved(self, event: CallPacked | CallOnTheWire | CallRunning, at: float) -> None:
        call = self.calls.get(event.call)
        if call is None:
            return
        phase = CallPhase.ON_THE_WIRE
        if isinstance(event, CallPacked):
            call.daemon, call.slot = event.daemon, event.slot
            self._under_way(call, +1)
            phase = CallPhase.PACKED
        elif isinstance(event, CallRunning):
            call.pid, phase = event.pid, CallPhase.RUNNING
        # The daemon's answer may be read before the writer's task has run on; a phase is never gone back to.
        if _ORDER[phase] > _ORDER[call.phase]:
            call.move(phase, at)
        self._touch(self.trajectories.rows[call.trajectory])

    def _ended(self, event: CallEnded, at: float) -> None:
        call = self.calls.pop(event.call, None)
        if call is None:
            return
        if call.daemon:
            self._under_way(call, -1)
        _finish(call, event, at)
        self.history.add(call)
        self.latencies.record(call, latency_s=max(0.0, event.latency_s))
        self._ended_since_sample += 1
        self._count("calls_ended")
        self._count(f"calls_{event.provenance}")
        trajectory = self.trajectories.rows[call.trajectory]
        del trajectory.live[call.number]
        trajectory.calls += 1
        trajectory.errors += not event.success
        trajectory.idle_since = at
        self._settle(trajectory)

    def _under_way(self, call: LiveCall, change: int) -> None:
        daemon = self.daemons.rows.get(call.daemon)
        if daemon is not None:
            daemon.under_way += change

    # --- leases, slots, daemons -----------------------------------------------------------------------

    def _leased(self, event: LeaseChanged, at: float) -> None:
        trajectory = self._trajectory(event.trajectory, at)
        if trajectory is None:
            return
        if event.slot and event.state in _SLOT_STATES:
            owner = event.trajectory if event.state in (LeaseState.LEASED, LeaseState.RELEASING) else ""
            self._slot(event.daemon, event.slot, _SLOT_STATES[event.state], at, owner)
        trajectory.lease, trajectory.lease_since = event.state, at
        trajectory.daemon = event.daemon or trajectory.daemon
        trajectory.slot = event.slot or trajectory.slot
        if event.state is LeaseState.RELEASED:
            trajectory.daemon = trajectory.slot = ""
        self._settle(trajectory)

    def _slot(self, daemon: str, name: str, state: str, at: float, owner: str = "") -> None:
        known = self.slots.rows.get(f"{daemon}/{name}")
        was_leased = known is not None and known.owner != ""
        slot = Slot(daemon=daemon, name=name, state=state, since=at, owner=owner)
        self.slots.touch(slot.key, slot)
        host = self.daemons.rows.get(daemon)
        if host is not None:
            host.leased += bool(owner) - was_leased
            self.daemons.touch(daemon, host)

    def _daemon_changed(self, event: DaemonChanged, at: float) -> None:
        daemon = self.daemons.rows.get(event.daemon)
        if event.state is DaemonState.DOWN:
            for slot in [each for each in self.slots.rows.values() if each.daemon == event.daemon]:
                self.slots.remove(slot.key)
        if daemon is None:
            daemon = Daemon(name=event.daemon, state=event.state, since=at)
        daemon.state, daemon.since, daemon.reason = event.state, at, event.reason
        daemon.slots = daemon.slots if event.slots is None else event.slots
        daemon.url = event.url or daemon.url
        if event.state is DaemonState.DOWN:
            daemon.leased = daemon.under_way = 0
        self.daemons.touch(event.daemon, daemon)

    # --- agents ---------------------------------------------------------------------------------------

    def _rollout(self, event: TrajectoryBegan | TrajectoryEnded, at: float) -> None:
        if isinstance(event, TrajectoryBegan):
            trajectory = self._trajectory(event.trajectory, at)
            if trajectory is not None:
                trajectory.announced = True
                self._touch(trajectory)
            return
        self._count("trajectories_ended")
        self._count(f"trajectories_{event.provenance.value}")
        known = self.trajectories.rows.get(event.trajectory)
        if known is not None:
            known.announced, known.model_since = False, None
            self._settle(known)

    def _agent(self, event: TurnBegan | TurnEnded | ModelCallBegan | ModelCallEnded, at: float) -> None:
        trajectory = self._trajectory(event.trajectory, at)
        if trajectory is None:
            return
        match event:
            case TurnBegan():
                trajectory.turn = event.turn
            case ModelCallBegan():
                trajectory.turn, trajectory.model_since = event.turn, at
            case _:
                trajectory.model_since = None
        trajectory.idle_since = at
        self._settle(trajectory)

    # --- what is not told by events -------------------------------------------------------------------

    def place(self, trajectory: str, nursery: str) -> None:
        """Say under which nursery a trajectory runs."""
        self.unplaced.discard(trajectory)
        known = self.trajectories.rows.get(trajectory)
        if known is not None and known.nursery != nursery:
            known.nursery = nursery
            self._touch(known)

    def carry(self, daemon: str, traffic: Mapping[str, int]) -> None:
        """Say what a daemon's link has carried, and what waits for it."""
        known = self.daemons.rows.get(daemon)
        if known is not None and known.traffic != traffic:
            known.traffic = dict(traffic)
            self.daemons.touch(daemon, known)

    def without_process(self, since: float) -> list[str]:
        """Trajectories with a call that has been at its daemon since then, and no process is known of."""
        return list(
            dict.fromkeys(
                call.trajectory
                for call in self.calls.values()
                if call.slot and call.pid is None and call.since <= since
            )
        )

    def found_processes(
        self, trajectory: str, processes: Sequence[tuple[int, float, str]], *, now: float
    ) -> None:
        """Say what runs in a trajectory's slot: number, age in seconds and command line, oldest first."""
        known = self.trajectories.rows.get(trajectory)
        if known is None or not processes:
            return
        calls = [call for call in known.live.values() if call.slot and call.pid is None]
        for call in calls:
            mine = [each for each in processes if _is_of(call, each[2])] or list(processes[: len(calls) == 1])
            if mine:
                call.pid, age_s, _ = mine[0]
                if call.phase is not CallPhase.RUNNING:
                    call.move(CallPhase.RUNNING, min(now, max(call.since, now - age_s)))
                self._touch(known)

    def sample(self, now: float) -> None:
        """Keep the present figures, as a point of the curves. To be called about once a second."""
        passed = 0.0 if self._sampled_at is None else now - self._sampled_at
        recent = self.latencies.take_recent()
        waiting = sum(each.lease is LeaseState.WAITING for each in self.trajectories.rows.values())
        queued = sum(call.phase is CallPhase.QUEUED for call in self.calls.values())
        rate = self._ended_since_sample / passed if passed > 0 else 0.0
        percentiles = [recent.percentile(percent) for percent in (50, 95, 99)]
        self.samples.append(
            [round(now, 3), round(rate, 1), waiting, queued, len(self.calls) - queued]
            + [round(each, 6) for each in percentiles]
        )
        self._ended_since_sample, self._sampled_at, self.now = 0, now, max(self.now, now)

    # --- what is asked --------------------------------------------------------------------------------

    def figures(self) -> dict[str, Any]:
        """Latencies, counters and the curves. JSON values only."""
        return {**self.summary(), **self.latencies.to_mapping(), "history": list(self.samples)}

    def summary(self) -> dict[str, Any]:
        """Counters and the last point of the curves. JSON values only."""
        counters = {
            "trajectories": len(self.trajectories.rows),
            "calls_under_way": len(self.calls),
            **self.counters,
        }
        return {"counters": counters, "history": list(self.samples)[-1:]}

    def detail(self, trajectory: str) -> dict[str, Any]:
        """The calls of a trajectory, by phase: those that are kept, then those under way."""
        known = self.trajectories.rows.get(trajectory)
        live = list(known.live.values()) if known else []
        calls = [*self.history.calls(trajectory), *live]
        return {
            "id": trajectory,
            "found": known is not None or bool(calls),
            "calls": [call.details() for call in calls],
            "forgotten": self.history.forgotten(trajectory),
        }

    def snapshot(self) -> dict[str, Any]:
        """Everything that is alive, and the figures. JSON values only."""
        return {
            "now": self.now,
            "trajectories": [each.row() for each in self.trajectories.rows.values()],
            "slots": [each.row() for each in self.slots.rows.values()],
            "daemons": [each.row() for each in self.daemons.rows.values()],
            **self.latencies.to_mapping(),
            **self.summary(),
        }

    # --- how ------------------------------------------------------------------------------------------

    def _trajectory(self, id_: str, at: float) -> Trajectory | None:
        known = self.trajectories.rows.get(id_)
        if known is None and len(self.trajectories.rows) >= self.max_trajectories:
            self._count("not_followed")
            return None
        if known is None:
            self.unplaced.add(id_)
        return known or Trajectory(id=id_, started=at, idle_since=at)

    def _settle(self, trajectory: Trajectory) -> None:
        if trajectory.is_over:
            self.unplaced.discard(trajectory.id)
            self.trajectories.remove(trajectory.id)
        else:
            self._touch(trajectory)

    def _touch(self, trajectory: Trajectory) -> None:
        self.trajectories.touch(trajectory.id, trajectory)

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1


def _is_of(call: LiveCall, command: str) -> bool:
    """Whether a process is the shell of a call, or what the shell has become."""
    return bool(call.summary and command) and (call.summary in command or command in call.summary)


def _finish(call: LiveCall, event: CallEnded, at: float) -> None:
    """Divide the last phase: what the daemon measured is running, and what is left is the way back."""
    call.provenance, call.error = event.provenance, event.error
    since = call.since
    if event.run_s is None or call.phase in (CallPhase.QUEUED, CallPhase.ENDED):
        call.move(CallPhase.ENDED, at)
        return
    if call.phase is not CallPhase.RUNNING:  # nobody told when it began
        call.move(CallPhase.RUNNING, max(since, at - event.run_s))
    elif since > at - event.run_s:  # it was told late, and the daemon has measured more than that
        call.began_before(at - event.run_s)
    ran_until = min(at, call.since + event.run_s)
    call.marks.append((CallPhase.RUNNING, ran_until))
    if at - ran_until > 1e-6:  # less is what arithmetic leaves
        call.marks.append(("result", at))
    call.phase, call.since = CallPhase.ENDED, at
