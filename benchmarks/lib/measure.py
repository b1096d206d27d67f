"""Runs a plan: every point, every contender, every round, interleaved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

import trio
from attrs import define, field

from benchmarks.lib.drivers import Driver
from benchmarks.lib.load import LaneResult
from benchmarks.lib.plan import Contender, Plan, Point
from benchmarks.lib.report import Measurement, measured
from benchmarks.lib.rounds import turned

Progress = Callable[[str], None]
"""Called before each run with what is about to run."""


@define
class _Tally:
    rounds: list[LaneResult] = field(factory=list)
    cpu_s: float = 0.0


async def measure(
    plan: Plan, drivers: Mapping[str, Driver], *, rounds: int, progress: Progress
) -> tuple[Measurement, ...]:
    """Runs every contender whose arm has a driver.

    Rounds are the outermost loop: what is compared lies seconds apart, whatever the machine does meanwhile.

    Cancellation: *poisons* the drivers.
    """
    present = [contender for contender in plan.contenders if contender.arm in drivers]
    tallies: dict[tuple[int, str], _Tally] = defaultdict(_Tally)
    await trio.lowlevel.checkpoint()
    for number in range(rounds):
        for index, point in enumerate(plan.points):
            for contender in turned(present, number):
                progress(f"round {number + 1}/{rounds} {describe(point)} {contender.label}")
                await _run_once(drivers[contender.arm], contender, point, tallies[index, contender.label])
    return tuple(
        measured(point.labels, contender.label, tally.rounds, tally.cpu_s)
        for index, point in enumerate(plan.points)
        for contender in present
        for tally in [tallies[index, contender.label]]
    )


def describe(point: Point) -> str:
    """The point's labels in one line."""
    return " ".join(f"{name}={value}" for name, value in point.labels.items())


async def _run_once(driver: Driver, contender: Contender, point: Point, tally: _Tally) -> None:
    result = await driver.run(point.load, contender.settings)
    tally.rounds += [lane for lane in result.lanes if lane.lane == point.lane]
    tally.cpu_s += result.caller_cpu_s
