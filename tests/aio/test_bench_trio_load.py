"""The closed loop on Trio, on a virtual clock and with an arm that only sleeps."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from benchmarks.lib import trio_load
from benchmarks.lib.load import WARM_UP, CallOutcome, Lane, Load, Step

TRUE = Step(tool="bash", arguments={"command": "true"})
SLEEP = Step(tool="bash", arguments={"command": "sleep"})


class SleepingArm:
    """Takes 0.1 s for a call, 5 s for ``sleep``; counts what runs at once."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self.running: Counter[str] = Counter()

    async def execute(
        self, trajectory_id: str, tool: str, arguments: Mapping[str, Any], limit_s: float
    ) -> CallOutcome:
        """Fails when a trajectory has two calls under way, or when asked to."""
        self.made[trajectory_id] += 1
        self.running[trajectory_id] += 1
        assert self.running[trajectory_id] == 1
        await trio.sleep(5 if arguments["command"] == "sleep" else 0.1)
        self.running[trajectory_id] -= 1
        if arguments["command"] == "crash":
            raise ZeroDivisionError("of the arm")
        return CallOutcome(ok=True)


@pytest.fixture(autouse=True)
def _virtual_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator takes time from the machine's clock; here it is Trio's."""
    clocks = SimpleNamespace(perf_counter=trio.current_time, process_time=time.process_time)
    monkeypatch.setattr(trio_load, "time", clocks)


async def test_each_trajectory_has_one_call_under_way_until_the_time_is_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Two trajectories, 1 s, 0.1 s a call: ten each, after one to warm up."""
    arm = SleepingArm()
    load = Load(lanes=(Lane(name="all", trajectories=2, steps=(TRUE,)),), duration_s=0.95)
    result = await trio_load.run_load(arm.execute, load)
    assert arm.made == {"all-0": 11, "all-1": 11}
    (lane,) = result.lanes
    assert (lane.calls, lane.failed) == (20, 0)
    assert lane.wall_s == pytest.approx(1.0)
    assert lane.latency.max_s == pytest.approx(0.1)
    assert result.caller_cpu_s >= 0


async def test_lanes_are_measured_apart(autojump_clock: trio.testing.MockClock) -> None:
    """The slow lane's call is waited for, and is no latency of the fast lane's."""
    arm = SleepingArm()
    fast = Lane(name="fast", trajectories=1, steps=(TRUE,))
    slow = Lane(name="slow", trajectories=1, steps=(SLEEP,), calls=1)
    result = await trio_load.run_load(arm.execute, Load(lanes=(fast, slow), duration_s=0.95))
    assert [(lane.lane, lane.calls) for lane in result.lanes] == [("fast", 10), ("slow", 1)]
    assert result.lanes[0].latency.max_s == pytest.approx(0.1)
    assert result.lanes[1].wall_s == pytest.approx(5)


async def test_an_arm_that_raises_is_counted_and_the_load_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A crash of one call is a figure; the others are still measured."""
    crash = Step(tool="bash", arguments={"command": "crash"})
    load = Load(lanes=(Lane(name="all", trajectories=1, steps=(TRUE, crash)),), duration_s=0.35)
    (lane,) = (await trio_load.run_load(SleepingArm().execute, load)).lanes
    assert lane.calls == 4
    assert lane.failures == {"raised ZeroDivisionError: of the arm": 2}


def test_warming_up_is_a_call_every_arm_knows() -> None:
    """It takes the slot that the first measured call would otherwise wait for."""
    assert WARM_UP.tool == "bash"
