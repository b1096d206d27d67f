"""Every slot prints a GiB at once: does the daemon grow, does its loop stall, does a neighbour notice?

Then 64 busy loops in one slot beside one in another: does each slot get its share of the processors?
The slots are in this process, so that the loop can be watched step by step.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import trio
from attrs import define, field
from rich.console import Console

from benchmarks.lib.environment import capture_environment
from benchmarks.lib.plots import draw_findings
from benchmarks.lib.processes import own_bytes
from benchmarks.lib.report import Report
from benchmarks.lib.slots import LongestStep, open_slots
from benchmarks.scenario.base import BenchOptions, Scenario
from hermes_trio.telemetry import LogHistogram
from hermes_trio.wire.frames import Lease
from hermes_trio.wire.operations import BashArguments
from sandbox_daemon.slots.pool import SlotPool

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SLOTS = 64
MIB = 1024 * 1024
MEBIBYTES = 1024
LOOPS = 64
ECHO = BashArguments(command="echo ok")


@define
class _Tally:
    echo: LogHistogram = field(factory=LogHistogram)
    grown_bytes: int = 0
    wrong_totals: int = 0
    wall_s: float = 0.0
    longest_step_s: float = 0.0
    longest_step_cpu_s: float = 0.0
    share: float = 0.0


class Floods(Scenario):
    """See the module."""

    name = "floods"
    summary = "64 slots print 1 GiB each at once: growth, loop stall, a neighbour's echo; then 64 busy loops"

    async def run(self, options: BenchOptions, console: Console) -> Report:
        """See the base class.

        Cancellation: *shielded, at most 20 s*: every slot is killed first.
        """
        environment, tally = capture_environment(), _Tally()
        slots = options.slots or (2 if options.smoke else SLOTS)
        mebibytes, seconds = (16, 0.5) if options.smoke else (MEBIBYTES, options.seconds or 4.0)
        async with open_slots(slots + 1, isolation=options.isolation) as (pool, leases):
            console.print(f"{slots} floods of {mebibytes} MiB ...")
            await _flood(pool, leases, mebibytes, tally)
            console.print(f"{LOOPS} busy loops ...")
            await _crowd(pool, leases[0], leases[1], seconds, tally)
        return Report(
            scenario=self.name,
            smoke=options.smoke,
            environment=environment,
            parameters={**options.parameters(), "slots": slots, "mebibytes": mebibytes},
            findings={
                "daemon_growth_mib": tally.grown_bytes / MIB,
                "longest_step_ms": tally.longest_step_s * 1e3,
                "longest_step_cpu_ms": tally.longest_step_cpu_s * 1e3,
                "neighbour_p50_ms": tally.echo.percentile(50) * 1e3,
                "neighbour_p99_ms": tally.echo.percentile(99) * 1e3,
                "mib_per_s": slots * mebibytes / tally.wall_s,
                "share_beside_busy_loops": tally.share,
            },
            details={"wall_s": round(tally.wall_s, 1), "echo": tally.echo.to_mapping()},
            problems=(f"{tally.wrong_totals} totals were wrong",) if tally.wrong_totals else (),
        )

    def draw(self, report: Report, figure: Figure) -> None:
        """The findings as bars."""
        draw_findings(report, figure)


async def _flood(pool: SlotPool, leases: list[Lease], mebibytes: int, tally: _Tally) -> None:
    *flooding, neighbour = leases
    await _print(pool, neighbour, 1)
    before = own_bytes(os.getpid())
    steps = LongestStep()
    trio.lowlevel.add_instrument(steps)
    began = time.perf_counter()

    async def flood(lease: Lease) -> None:
        tally.wrong_totals += await _print(pool, lease, mebibytes) != mebibytes * MIB

    async with trio.open_nursery() as watching:
        watching.start_soon(_echo, pool, neighbour, tally)
        async with trio.open_nursery() as nursery:
            for lease in flooding:
                nursery.start_soon(flood, lease)
        watching.cancel_scope.cancel()
    trio.lowlevel.remove_instrument(steps)
    tally.wall_s = time.perf_counter() - began
    tally.longest_step_s = steps.longest_s
    tally.longest_step_cpu_s = steps.longest_cpu_s
    tally.grown_bytes = own_bytes(os.getpid()) - before


async def _print(pool: SlotPool, lease: Lease, mebibytes: int) -> int:
    command = BashArguments(command=f"head -c {mebibytes}M /dev/zero")
    outcome = await pool.bash(lease, command, limit_s=600)
    return int(outcome.data["stdout_bytes"])


async def _echo(pool: SlotPool, neighbour: Lease, tally: _Tally) -> None:
    while True:
        began = time.perf_counter()
        await pool.bash(neighbour, ECHO)
        tally.echo.record(time.perf_counter() - began)
        await trio.sleep(0.02)


async def _crowd(pool: SlotPool, crowd: Lease, single: Lease, seconds: float, tally: _Tally) -> None:
    """Processor time of one loop against that of 64 in another slot, over the same seconds."""
    used: dict[int, float] = {}

    async def burn(lease: Lease, loops: int) -> None:
        command = f"for i in $(seq {loops}); do while :; do :; done & done; wait"
        outcome = await pool.bash(lease, BashArguments(command=command), limit_s=seconds)
        used[loops] = outcome.data["cpu_s"]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(burn, crowd, LOOPS)
        nursery.start_soon(burn, single, 1)
    tally.share = used[1] / used[LOOPS]


def make_scenario() -> Scenario:
    """For the registry of scenarios."""
    return Floods()
