"""How fast everything is dead: crowds at a cancel, cancels at any moment, slots whose daemon is killed.

Crowds and cancels are those of slots in this process; the daemon that is killed is the real program, with an
executor that keeps all of its slots busy.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from attrs import define, field
from rich.console import Console

import hermes_trio as ht
from benchmarks.chaos.kills import daemon_pids
from benchmarks.chaos.leases import TOKEN, open_daemon
from benchmarks.lib.environment import capture_environment
from benchmarks.lib.plots import draw_findings
from benchmarks.lib.report import Report
from benchmarks.lib.slots import open_slots, processes_in
from benchmarks.lib.watch import Watch
from benchmarks.scenario.base import BenchOptions, Scenario
from hermes_trio.telemetry import LogHistogram
from hermes_trio.testing.silence import silence
from hermes_trio.wire.frames import Lease
from hermes_trio.wire.operations import BashArguments
from sandbox_daemon.isolation.cgroup_tree import open_groups
from sandbox_daemon.slots.pool import SlotPool

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CROWD = 300
CROWDS = 40
CANCELS = 10_000
CANCELLING_SLOTS = 16
BUSY_SLOTS = 64
MOMENTS = (-4.0, -0.5)
"""When a cancel strikes, in seconds, as powers of ten: before the start, during the command, at its end."""
RESTLESS = "sleep 1000 & setsid sleep 1000 & sleep 0.003"
BUSY = "setsid bash -c 'while :; do sleep 1; done' & sleep 1000 & sleep 1000"
GONE_LIMIT_S = 10.0


@define
class _Tally:
    crowd: LogHistogram = field(factory=LogHistogram)
    gone_s: list[float] = field(factory=list)
    survivors: int = 0
    ended: int = 0
    cancelled: int = 0


class Kill(Scenario):
    """See the module."""

    name = "kill"
    summary = (
        "300 processes at a cancel, 10,000 cancels at random moments, a SIGKILLed daemon: until 0 processes"
    )

    async def run(self, options: BenchOptions, console: Console) -> Report:
        """See the base class.

        Cancellation: *shielded, at most 36 s*: all processes are stopped first.
        """
        environment, tally = capture_environment(), _Tally()
        crowds, cancels = (2, 60) if options.smoke else (CROWDS, CANCELS)
        slots = options.slots or (4 if options.smoke else BUSY_SLOTS)
        rounds = options.rounds or (1 if options.smoke else 5)
        async with open_slots(CANCELLING_SLOTS, isolation=options.isolation) as (pool, leases):
            console.print("crowds ...")
            for number in range(crowds):
                await _cancel_crowd(pool, leases[number % len(leases)], tally)
            console.print("cancels ...")
            await _cancel_often(pool, leases, cancels, tally, seed=options.seed)
        for number in range(rounds):
            console.print(f"killed daemon {number + 1}/{rounds} ...")
            with silence():  # the executor has to miss its daemon
                tally.gone_s.append(await _kill_daemon(slots, options.isolation))
        return Report(
            scenario=self.name,
            smoke=options.smoke,
            environment=environment,
            parameters={**options.parameters(), "rounds": rounds, "slots": slots},
            findings=_findings(tally),
            details={"crowds": crowds, "cancels": cancels, "crowd": tally.crowd.to_mapping()},
            problems=_problems(tally, cancels),
        )

    def draw(self, report: Report, figure: Figure) -> None:
        """The findings as bars."""
        draw_findings(report, figure)


async def _cancel_crowd(pool: SlotPool, lease: Lease, tally: _Tally) -> None:
    up = pool._site.storage.workspace(lease.slot) / "up"
    command = f"for i in $(seq {CROWD}); do setsid sleep 1000 & done; echo > up; sleep 1000"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.bash, lease, BashArguments(command=command))
        while not up.exists():  # noqa: ASYNC110 - a file tells nobody that it is there
            await trio.sleep(0.005)
        began = time.perf_counter()
        nursery.cancel_scope.cancel()
    tally.crowd.record(time.perf_counter() - began)
    tally.survivors += len(processes_in(pool))
    await pool.bash(lease, BashArguments(command="rm up"))


async def _cancel_often(pool: SlotPool, leases: list[Lease], count: int, tally: _Tally, *, seed: int) -> None:
    dice, work = random.Random(seed), iter(range(count))

    async def live(lease: Lease) -> None:
        await trio.lowlevel.checkpoint()
        for _ in work:
            with trio.move_on_after(10 ** dice.uniform(*MOMENTS)) as scope:
                await pool.bash(lease, BashArguments(command=RESTLESS))
                tally.ended += 1
            tally.cancelled += scope.cancelled_caught

    async with trio.open_nursery() as nursery:
        for lease in leases:
            nursery.start_soon(live, lease)
    tally.survivors += len(processes_in(pool))
    tally.survivors += pool.statistics().quarantined


async def _kill_daemon(slots: int, isolation: str) -> float:
    """Seconds from SIGKILL until none of the daemon's processes is left."""
    watch = Watch()
    async with (
        open_daemon(slots, lease_grace_s=2.0, isolation=isolation) as url,
        ht.open_static_backend([url], token=TOKEN) as backend,
        ht.open_executor(backend, config=ht.ExecutorConfig(allow_network=False)) as executor,
        trio.open_nursery() as nursery,
    ):
        for number in range(slots):
            call = ht.ToolCall(name="bash", arguments={"command": "echo up"})
            await executor.execute(f"t{number}", call)
            busy = ht.ToolCall(name="bash", arguments={"command": BUSY})
            nursery.start_soon(executor.execute, f"t{number}", busy)
        [daemon] = daemon_pids()
        while len(watch.survivors()) < 5 * slots:
            watch.look()
            await trio.sleep(0.05)
        began = time.perf_counter()
        os.kill(daemon, signal.SIGKILL)
        while watch.survivors() and time.perf_counter() < began + GONE_LIMIT_S:  # noqa: ASYNC110 - likewise
            await trio.sleep(0.002)
        took_s = time.perf_counter() - began
        nursery.cancel_scope.cancel()
        for data_dir in watch.left_directories():
            with open_groups(Path(data_dir)):
                pass  # as the next daemon on it would: the empty groups of the dead one are removed
    return took_s


def _findings(tally: _Tally) -> dict[str, float | None]:
    return {
        "crowd_cancel_p50_ms": tally.crowd.percentile(50) * 1e3,
        "crowd_cancel_p99_ms": tally.crowd.percentile(99) * 1e3,
        "daemon_killed_until_0_processes_worst_ms": max(tally.gone_s) * 1e3,
        "cancels_that_struck": tally.cancelled,
        "commands_that_ended_first": tally.ended,
        "survivors": tally.survivors,
    }


def _problems(tally: _Tally, cancels: int) -> tuple[str, ...]:
    problems = []
    if tally.survivors:
        problems.append(f"{tally.survivors} processes survived")
    if tally.ended + tally.cancelled != cancels:
        problems.append(f"{cancels} commands ended {tally.ended + tally.cancelled} times")
    if max(tally.gone_s) >= GONE_LIMIT_S:
        problems.append(f"processes of a killed daemon lived on for {GONE_LIMIT_S} s")
    return tuple(problems)


def make_scenario() -> Scenario:
    """For the registry of scenarios."""
    return Kill()
