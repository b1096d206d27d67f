"""What is over: bounded, whatever there is of it."""

from __future__ import annotations

from hermes_trio.console.history import MAX_TOOLS, OTHER_TOOLS, CallHistory, Latencies
from hermes_trio.console.model import LiveCall
from hermes_trio.telemetry.events import CallPhase


def call(number: int, trajectory: str = "t", tool: str = "bash") -> LiveCall:
    """A call that took a second."""
    made = LiveCall(
        number=number,
        trajectory=trajectory,
        tool=tool,
        uniq_id="u",
        turn=0,
        summary="",
        entered=0.0,
        since=0.0,
    )
    made.move(CallPhase.ENDED, 1.0)
    return made


def test_the_newest_calls_of_a_trajectory_are_kept() -> None:
    """And it is said how many are not."""
    history = CallHistory(max_calls=2)
    for number in range(5):
        history.add(call(number))
    assert [each.number for each in history.calls("t")] == [3, 4]
    assert history.forgotten("t") == 3
    assert history.find("t", 4) is not None
    assert history.find("t", 0) is None


def test_the_trajectories_that_were_used_last_are_kept() -> None:
    """With what was forgotten of them."""
    history = CallHistory(max_calls=1, max_trajectories=2)
    for number, trajectory in enumerate("aabac"):
        history.add(call(number, trajectory))
    assert history.calls("b") == ()
    assert [each.number for each in history.calls("a")] == [3]
    assert history.forgotten("a") == 2
    history.add(call(9, "d"))
    assert history.forgotten("a") == 0


def test_tools_beyond_the_bound_share_one_histogram() -> None:
    """The names are the model's: there could be any number of them."""
    latencies = Latencies()
    for number in range(MAX_TOOLS + 5):
        latencies.record(call(number, tool=f"tool{number}"), latency_s=1.0)
    tools = latencies.to_mapping()["tools"]
    assert len(tools) == MAX_TOOLS + 1
    assert tools[OTHER_TOOLS]["n"] == 5


def test_a_phase_without_a_histogram_takes_its_time_all_the_same() -> None:
    """What comes after it begins where it ended."""
    made = call(1)
    made.marks = [("queued", 1.0), ("strange", 3.0), ("running", 4.0)]
    latencies = Latencies()
    latencies.record(made, latency_s=4.0)
    phases = latencies.to_mapping()["phases"]
    assert phases["running"]["max"] == 1.0
    assert set(phases) == {"queued", "running", "whole"}
    assert latencies.take_recent().count == 1
    assert latencies.take_recent().count == 0
