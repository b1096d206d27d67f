"""The clock that decides for both event loops what a trajectory does next."""

from __future__ import annotations

from benchmarks.lib.load import CallOutcome, Lane, LaneClock, Load, Step, describe_crash

WRITE = Step(tool="write_file", arguments={}, limit_s=7)
READ = Step(tool="read_file", arguments={})
OK = CallOutcome(ok=True)


def clock(calls: int | None = None) -> LaneClock:
    """A lane that starts at 100 s and lasts 10 s, unless its calls are counted."""
    return LaneClock(
        Lane(name="all", trajectories=1, steps=(WRITE, READ), calls=calls), start_s=100, duration_s=10
    )


def test_steps_come_in_order_and_again() -> None:
    """Each trajectory cycles through the steps by its own count."""
    assert [clock().next_step(made, 100) for made in range(3)] == [WRITE, READ, WRITE]


def test_no_call_begins_after_the_duration() -> None:
    """Those under way may still end later."""
    assert clock().next_step(0, 109.999) is WRITE
    assert clock().next_step(0, 110) is None


def test_counted_calls_do_not_look_at_the_time() -> None:
    """A lane with a number of calls makes exactly those."""
    assert clock(calls=1).next_step(0, 1e9) is WRITE
    assert clock(calls=1).next_step(1, 100) is None


def test_result_counts_calls_latencies_and_reasons() -> None:
    """Failed calls took time too; the wall ends with the last call, not with the duration."""
    lane = clock()
    lane.record(100, 101, OK)
    lane.record(100, 112, CallOutcome(ok=False, reason="limit"))
    lane.record(101, 102, CallOutcome(ok=False, reason="limit"))
    result = lane.result()
    assert (result.lane, result.calls, result.failed) == ("all", 3, 2)
    assert result.failures == {"limit": 2}
    assert result.wall_s == 12
    assert result.latency.max_s == 12
    assert result.calls_per_s == 3 / 12
    assert repr(lane) == "<LaneClock all calls=3 failed=2>"


def test_a_load_knows_its_slots_and_its_longest_call() -> None:
    """The harness bounds its waiting by it."""
    lanes = (
        Lane(name="fast", trajectories=3, steps=(WRITE,)),
        Lane(name="slow", trajectories=1, steps=(READ,), calls=1),
    )
    load = Load(lanes=lanes, duration_s=1)
    assert load.trajectories == 4
    assert load.longest_call_s == 30
    assert lanes[0].trajectory_ids() == ("fast-0", "fast-1", "fast-2")


def test_a_crash_is_named_and_kept_short() -> None:
    """A report is no place for a megabyte of text."""
    outcome = describe_crash(ValueError("x" * 10_000))
    assert not outcome.ok
    assert outcome.reason.startswith("raised ValueError: xxx")
    assert len(outcome.reason) == 200
