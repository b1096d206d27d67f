"""The closed loop on Trio. Its twin for asyncio is ``arms/asyncio_load.py``; both ask :class:`LaneClock`."""

from __future__ import annotations

import time

import trio

from benchmarks.arms.base import Execute
from benchmarks.lib.load import WARM_UP, CallOutcome, LaneClock, Load, LoadResult, Step, describe_crash


async def run_load(execute: Execute, load: Load) -> LoadResult:
    """Warms up, then runs every lane of the load at once.

    Cancellation: *abandons* the calls under way; nothing is reported.
    """
    await _warm_up(execute, load)
    cpu_s, start_s = time.process_time(), time.perf_counter()
    clocks = [LaneClock(lane, start_s=start_s, duration_s=load.duration_s) for lane in load.lanes]
    async with trio.open_nursery() as nursery:
        for lane, clock in zip(load.lanes, clocks, strict=True):
            for trajectory_id in lane.trajectory_ids():
                nursery.start_soon(_run_trajectory, execute, clock, trajectory_id)
    return LoadResult(
        lanes=tuple(clock.result() for clock in clocks), caller_cpu_s=time.process_time() - cpu_s
    )


async def _warm_up(execute: Execute, load: Load) -> None:
    async with trio.open_nursery() as nursery:
        for lane in load.lanes:
            for trajectory_id in lane.trajectory_ids():
                nursery.start_soon(_attempt, execute, trajectory_id, WARM_UP)


async def _run_trajectory(execute: Execute, clock: LaneClock, trajectory_id: str) -> None:
    made = 0
    await trio.lowlevel.checkpoint()
    while (step := clock.next_step(made, time.perf_counter())) is not None:
        started_s = time.perf_counter()
        outcome = await _attempt(execute, trajectory_id, step)
        clock.record(started_s, time.perf_counter(), outcome)
        made += 1


async def _attempt(execute: Execute, trajectory_id: str, step: Step) -> CallOutcome:
    try:
        return await execute(trajectory_id, step.tool, step.arguments, step.limit_s)
    except Exception as error:  # the boundary that turns an arm's crash into a figure of the report
        await trio.lowlevel.checkpoint()
        return describe_crash(error)
