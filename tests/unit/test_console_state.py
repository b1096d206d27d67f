"""The live state: what events make of it, and the rows that are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from hermes_trio.console.model import LiveCall, Trajectory, Wait
from hermes_trio.console.state import LiveState
from hermes_trio.errors import Provenance
from hermes_trio.telemetry.events import (
    CallEnded,
    CallOnTheWire,
    CallPacked,
    CallPhase,
    CallQueued,
    CallRunning,
    DaemonChanged,
    DaemonState,
    Event,
    FailureNoted,
    LeaseChanged,
    LeaseState,
    LinkChanged,
    LinkState,
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


def queued(call: int = 1, trajectory: str = "t", *, slot_bound: bool = True) -> CallQueued:
    """A call of the shell."""
    return CallQueued(
        call=call,
        trajectory=trajectory,
        tool="bash",
        uniq_id=f"u{call}",
        limit_s=30.0,
        slot_bound=slot_bound,
        summary="sleep 5",
    )


def ended(call: int = 1, *, run_s: float | None = None, latency_s: float = 1.0, ok: bool = True) -> CallEnded:
    """And its end."""
    return CallEnded(
        call=call,
        trajectory="t",
        tool="bash",
        provenance=Provenance.OK if ok else Provenance.TOOL_ERROR,
        success=ok,
        latency_s=latency_s,
        run_s=run_s,
    )


def leased(trajectory: str = "t", state: LeaseState = LeaseState.LEASED, slot: str = "s0") -> LeaseChanged:
    """A lease on daemon d."""
    return LeaseChanged(trajectory=trajectory, state=state, daemon="d", slot=slot)


UP = DaemonChanged(daemon="d", state=DaemonState.UP, slots=4, url="ws://d")
PACKED = CallPacked(call=1, daemon="d", slot="s0")


def after(*events: Event) -> LiveState:
    """The state after these, one a second from 1 on."""
    state = LiveState()
    for at, event in enumerate(events, start=1):
        state.apply(Stamped(at, float(at), event))
    return state


def wait_of(state: LiveState, trajectory: str = "t") -> Wait:
    """What it waits for."""
    return state.trajectories.rows[trajectory].wait()


@pytest.mark.parametrize(
    ("events", "state", "on"),
    [
        ([queued()], "queued", "a free slot"),
        ([queued(slot_bound=False)], "queued", "bash to begin"),
        ([queued(), leased(state=LeaseState.WAITING, slot="")], "queued", "a free slot"),
        ([queued(), leased(state=LeaseState.ACQUIRING, slot="")], "queued", "d to give a slot"),
        ([queued(), leased()], "queued", "its turn in slot s0"),
        ([queued(), leased(state=LeaseState.RELEASING)], "queued", "slot s0 to be wiped"),
        ([queued(), leased(), PACKED], "packed", "the link to d"),
        ([queued(), PACKED, CallOnTheWire(call=1)], "on_the_wire", "d, which has it or is about to"),
        ([queued(), PACKED, CallOnTheWire(call=1), CallRunning(call=1, pid=7)], "running", "pid 7"),
        ([queued(), CallRunning(call=1)], "running", "bash"),
        ([queued(), leased(), PACKED, ended()], "idle", "its owner's next call"),
        ([leased(state=LeaseState.LOST)], "lost", "to be released: its slot is gone"),
        ([leased(state=LeaseState.RELEASING)], "releasing", "slot s0 to be wiped"),
        (
            [TrajectoryBegan(trajectory="t"), ModelCallBegan(trajectory="t", run=1, turn=2, messages=3)],
            "model",
            "the model's answer, turn 2",
        ),
    ],
)
def test_what_a_trajectory_waits_for(events: Sequence[Event], state: str, on: str) -> None:
    """The question the console is for."""
    wait = wait_of(after(UP, *events))
    assert (wait.state, wait.on) == (state, on)


def test_a_phase_is_never_gone_back_to() -> None:
    """The daemon's answer may be read before the writer's task has run on."""
    state = after(queued(), PACKED, CallRunning(call=1), CallOnTheWire(call=1))
    assert state.calls[1].phase is CallPhase.RUNNING


def test_the_phases_of_a_call_add_up_to_its_time() -> None:
    """What the daemon measured is running; the rest is the ways there and back."""
    state = after(queued(), PACKED, CallOnTheWire(call=1), CallRunning(call=1), ended(run_s=0.25))
    call = state.detail("t")["calls"][0]
    assert call["phases"] == [
        ["queued", 2.0],
        ["packed", 3.0],
        ["on_the_wire", 4.0],
        ["running", 4.25],
        ["result", 5.0],
    ]
    assert call["provenance"] == "ok"


def test_a_beginning_that_was_told_late_is_put_where_it_was() -> None:
    """A daemon announces what has been running for a while; at the end it tells how long that was."""
    state = after(queued(), PACKED, CallOnTheWire(call=1), CallRunning(call=1), ended(run_s=1.5))
    assert state.detail("t")["calls"][0]["phases"] == [
        ["queued", 2.0],
        ["packed", 3.0],
        ["on_the_wire", 3.5],
        ["running", 5.0],
    ]
    state = after(queued(), PACKED, CallOnTheWire(call=1), CallRunning(call=1), ended(run_s=50.0))
    assert state.detail("t")["calls"][0]["phases"][2:] == [["on_the_wire", 3.0], ["running", 5.0]]


@pytest.mark.parametrize(
    ("events", "phases"),
    [
        (
            [queued(), PACKED, CallOnTheWire(call=1), ended(run_s=0.5)],
            ["queued", "packed", "on_the_wire", "running"],
        ),
        ([queued(), ended(run_s=0.5)], ["queued"]),
        ([queued(), CallRunning(call=1), ended()], ["queued", "running"]),
        ([queued(), PACKED, ended(run_s=50.0)], ["queued", "packed", "running"]),
    ],
)
def test_phases_of_which_nobody_told_are_made_of_what_is_known(
    events: Sequence[Event], phases: list[str]
) -> None:
    """The daemon does not say of each call that it has begun."""
    state = after(*events)
    assert [phase for phase, _ in state.detail("t")["calls"][0]["phases"]] == phases


def test_a_call_under_way_has_a_phase_that_is_open() -> None:
    """The waterfall draws it up to now."""
    state = after(queued(), PACKED)
    assert state.detail("t")["calls"][0]["phases"] == [["queued", 2.0], ["packed", None]]


def test_a_trajectory_leaves_with_its_slot() -> None:
    """One that no rollout has told of lives as long as it holds something."""
    state = after(UP, queued(), leased(), PACKED, ended())
    assert "t" in state.trajectories.rows
    state.apply(Stamped(9, 9.0, leased(state=LeaseState.RELEASED)))
    assert "t" not in state.trajectories.rows
    assert state.detail("t")["found"]
    assert not state.detail("nobody")["found"]


def test_a_rollout_lives_until_its_end_is_told() -> None:
    """Whatever it holds."""
    state = after(
        TrajectoryBegan(trajectory="t"),
        TurnBegan(trajectory="t", run=1, turn=1),
        ModelCallBegan(trajectory="t", run=1, turn=1, messages=1),
        ModelCallEnded(trajectory="t", run=1, turn=1, provenance=Provenance.OK, latency_s=1.0),
        queued(),
        ended(ok=False),
        TurnEnded(trajectory="t", run=1, turn=1),
    )
    row = state.trajectories.rows["t"].row()
    assert row[:4] == ["t", "", "idle", 1]
    assert row[9:11] == [1, 1]
    state.apply(Stamped(9, 9.0, TrajectoryEnded(trajectory="t", provenance=Provenance.OK)))
    state.apply(Stamped(10, 10.0, TrajectoryEnded(trajectory="unknown", provenance=Provenance.OK)))
    assert not state.trajectories.rows
    assert state.counters["trajectories_ended"] == 2


def test_slots_are_known_from_their_first_lease_on() -> None:
    """Free, leased, dirty, quarantined, mended; and the daemon counts those that are held."""
    state = after(UP, leased("a"), leased("b", slot="s1"))
    daemon = state.daemons.rows["d"]
    assert daemon.leased == 2
    state.apply(Stamped(4, 4.0, leased("a", LeaseState.RELEASING)))
    assert state.slots.rows["d/s0"].state == "dirty"
    state.apply(Stamped(5, 5.0, leased("a", LeaseState.RELEASED)))
    state.apply(Stamped(6, 6.0, leased("b", LeaseState.QUARANTINED, slot="s1")))
    assert [slot.row()[3:5] for slot in state.slots.rows.values()] == [["free", ""], ["quarantined", ""]]
    assert daemon.leased == 0
    state.apply(Stamped(7, 7.0, SlotMended(daemon="d", slot="s1")))
    assert state.slots.rows["d/s1"].state == "free"


def test_a_daemon_that_goes_takes_its_slots_along() -> None:
    """And stays in the list, as down."""
    state = after(UP, leased("a"), queued(), PACKED)
    assert state.daemons.rows["d"].row()[:6] == ["d", "up", 4, 1, 0, 1]
    state.apply(Stamped(9, 9.0, DaemonChanged(daemon="d", state=DaemonState.DOWN, reason="gone")))
    assert not state.slots.rows
    assert state.daemons.rows["d"].row()[1:6] == ["down", 4, 0, 0, 0]
    state.apply(Stamped(10, 10.0, ended()))
    assert "t" not in state.trajectories.rows


def test_links_and_failures_are_counted() -> None:
    """They belong to nobody's row."""
    state = after(
        LinkChanged(daemon="d", state=LinkState.LOST),
        FailureNoted(where="fleet:d", provenance=Provenance.LINK_LOST, error="gone"),
    )
    assert state.counters == {"links_lost": 1, "failures": 1}


def test_what_is_unknown_is_passed_over() -> None:
    """It began while nobody looked; the snapshot tells of it."""
    state = after(PACKED, ended())
    assert not state.trajectories.rows
    assert not state.calls


def test_more_trajectories_than_are_followed_are_counted() -> None:
    """The state cannot grow without end."""
    state = LiveState(max_trajectories=1)
    state.apply(Stamped(1, 1.0, queued(1, "a")))
    for number, event in enumerate(
        [
            queued(2, "b"),
            leased("b"),
            TurnBegan(trajectory="b", run=1, turn=1),
            TrajectoryBegan(trajectory="b"),
        ]
    ):
        state.apply(Stamped(2 + number, 2.0, event))
    assert list(state.trajectories.rows) == ["a"]
    assert state.counters["not_followed"] == 4


def test_a_snapshot_replaces_what_is_alive_and_keeps_the_rest() -> None:
    """A watcher that lost events begins again; histories and nurseries stay."""
    state = after(queued(), ended(), queued(2), queued(3, "gone"))
    state.place("t", "runner › rollouts")
    state.place("t", "runner › rollouts")
    state.place("nobody", "x")
    events = (
        Stamped(9, 20.0, queued(2)),
        Stamped(9, 20.0, CallPacked(call=2, daemon="d", slot="s0")),
        Stamped(9, 20.0, queued(5)),
        Stamped(9, 20.0, leased()),  # of a daemon that the snapshot does not name
    )
    state.begin(Snapshot(sequence=9, at_s=30.0, unix_time_s=0.0, events=events))
    assert list(state.trajectories.rows) == ["t"]
    assert state.trajectories.rows["t"].nursery == "runner › rollouts"
    assert state.calls[2].phase is CallPhase.ON_THE_WIRE
    assert state.now == 30.0
    assert len(state.detail("t")["calls"]) == 3


def test_figures_are_sampled_and_bounded() -> None:
    """A point a second: rate, queues, percentiles of the calls of that second."""
    state = after(UP, queued(), PACKED, ended(latency_s=0.5), queued(2), leased(state=LeaseState.WAITING))
    state.sample(10.0)
    state.sample(12.0)
    first, second = state.figures()["history"]
    assert first[:5] == [10.0, 0.0, 1, 1, 0]
    assert first[5] == pytest.approx(0.5, rel=0.1)
    assert second[1:] == [0.0, 1, 1, 0, 0.0, 0.0, 0.0]
    assert state.summary()["history"] == [second]
    assert state.figures()["phases"]["whole"]["n"] == 1


def test_traffic_changes_a_daemons_row_only_when_it_has() -> None:
    """A watcher is not told the same thing twice."""
    state = after(UP)
    state.carry("d", {"queued": 3, "bytes_sent": 10, "bytes_received": 20})
    version = state.daemons.version
    state.carry("d", {"queued": 3, "bytes_sent": 10, "bytes_received": 20})
    state.carry("unknown", {})
    assert state.daemons.version == version
    assert state.daemons.rows["d"].row()[4:8] == [3, 0, 10, 20]


def test_processes_are_matched_to_calls_by_their_command_lines() -> None:
    """The oldest one belongs to the only call; of several, each to the call whose command it shows."""
    state = after(UP, leased(), queued(), PACKED)
    assert state.without_process(10.0) == ["t"]
    assert state.without_process(0.0) == []
    state.found_processes("t", [(41, 3.0, "/bin/zsh")], now=10.0)
    assert (state.calls[1].pid, state.calls[1].phase) == (41, CallPhase.RUNNING)
    assert state.without_process(10.0) == []
    for number in (2, 3):
        state.apply(Stamped(10 + number, 10.0, queued(number)))
        state.apply(Stamped(10 + number, 10.0, CallPacked(call=number, daemon="d", slot="s0")))
    state.calls[3].summary = "make test"
    state.apply(Stamped(14, 10.0, CallRunning(call=3)))
    found = [(50, 2.0, "/bin/bash -c make test"), (51, 1.0, "cc1"), (52, 1.0, "")]
    state.found_processes("t", found, now=12.0)
    assert (state.calls[2].pid, state.calls[3].pid) == (None, 50)
    state.found_processes("nobody", found, now=12.0)
    state.found_processes("t", [], now=12.0)


def test_a_snapshot_of_everything_is_json() -> None:
    """For programs that ask once."""
    told: dict[str, Any] = after(UP, leased(), queued(), PACKED).snapshot()
    assert told["trajectories"][0][:3] == ["t", "", "packed"]
    assert told["counters"]["calls_under_way"] == 1
    assert "LiveState 1 trajectories, 1 calls under way, 1 slots, 1 daemons" in repr(
        after(UP, leased(), queued())
    )


def test_a_long_command_is_cut_in_rows() -> None:
    """Rows are sent often."""
    call = LiveCall(
        number=1, trajectory="t", tool="bash", uniq_id="u", turn=0, summary="x" * 500, entered=0.0, since=0.0
    )
    assert len(call.row()[8]) == 120
    call.began_before(2.0)
    assert (call.since, call.marks) == (2.0, [])  # its first phase: none before it is over
    assert not Trajectory(id="t", started=0.0, idle_since=0.0, live={1: call}).is_over
