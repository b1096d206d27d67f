"""A GiB up and down through the one link: how fast, and do 32 trajectories that run `true` notice?

Each round measures, in turn, the websocket library with nothing around it (the ceiling), a transfer alone,
the trajectories alone, and beside them a transfer, then the bare library again. Memory is that of this
process and of the daemon, at its highest while the bytes went by, less what it was before; processor time is
theirs, which a busy machine spoils less than a rate.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal, cast

import trio
from attrs import define, field
from rich.console import Console

import hermes_trio as ht
from benchmarks.chaos.kills import daemon_pids
from benchmarks.lib.bare_websocket import measure_bare, open_bare_server
from benchmarks.lib.environment import capture_environment
from benchmarks.lib.plots import draw_findings
from benchmarks.lib.processes import cpu_s, own_bytes
from benchmarks.lib.report import Report
from benchmarks.scenario.base import BenchOptions, Scenario
from hermes_trio.executor.executor import Executor
from hermes_trio.telemetry import LogHistogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIB = 1024 * 1024
MEBIBYTES = 1024
BARE_MEBIBYTES = 256
TRAJECTORIES = 32
ROUNDS = 3
SECONDS = 5.0
DIRECTIONS = ("up", "down")
_LOOK_EVERY_S = 0.05


@define
class _Phase:
    """What was measured while one thing went on."""

    calls: LogHistogram = field(factory=LogHistogram)
    failed: int = 0
    seconds: float = 0.0
    executor_cpu_s: float = 0.0
    daemon_cpu_s: float = 0.0
    executor_growth: int = 0
    daemon_growth: int = 0

    def p99_ms(self) -> float:
        return self.calls.percentile(99) * 1e3


@define
class _Round:
    """Everything once, by direction."""

    ceiling: dict[str, float] = field(factory=dict)
    alone: dict[str, _Phase] = field(factory=dict)
    beside: dict[str, _Phase] = field(factory=dict)
    ceiling_beside: dict[str, float] = field(factory=dict)
    without: _Phase = field(factory=_Phase)

    def phases(self) -> tuple[_Phase, ...]:
        return (*self.alone.values(), *self.beside.values(), self.without)


class Transfer(Scenario):
    """See the module."""

    name = "transfer"
    summary = "1 GiB up and down through one link beside 32 trajectories: MB/s, and what the others notice"

    async def run(self, options: BenchOptions, console: Console) -> Report:
        """See the base class.

        Cancellation: *shielded, at most 36 s*: the daemon is stopped first.
        """
        environment = capture_environment()
        bench = _Bench(
            mebibytes=8 if options.smoke else MEBIBYTES,
            others=4 if options.smoke else (options.trajectories or (TRAJECTORIES,))[0],
            seconds=options.seconds or (0.25 if options.smoke else SECONDS),
            console=console,
        )
        rounds = options.rounds or (1 if options.smoke else ROUNDS)
        isolation = cast("Literal['auto', 'required', 'none']", options.isolation)
        with tempfile.TemporaryDirectory(prefix="hermes-trio-transfer-") as folder:
            bench.open_folder(Path(folder))
            async with (
                open_bare_server() as port,
                ht.open_local_backend(slots=bench.others + 1, isolation=isolation) as backend,
                ht.open_executor(backend) as executor,
            ):
                done = [await bench.round(executor, port, number, of=rounds) for number in range(rounds)]
        failed = sum(phase.failed for each in done for phase in each.phases())
        problems = bench.problems + [f"{failed} calls failed"] * bool(failed)
        return Report(
            scenario=self.name,
            smoke=options.smoke,
            environment=environment,
            parameters={
                **options.parameters(),
                "rounds": rounds,
                "mebibytes": bench.mebibytes,
                "trajectories": bench.others,
            },
            findings=_findings(bench.mebibytes, done),
            details={"sha256": bench.digest, "rounds": [_told(bench.mebibytes, each) for each in done]},
            problems=tuple(problems),
        )

    def draw(self, report: Report, figure: Figure) -> None:
        """The findings as bars."""
        draw_findings(report, figure)


@define
class _Bench:
    """What all rounds share."""

    mebibytes: int
    others: int
    seconds: float
    console: Console
    folder: Path = Path()
    digest: str = ""
    problems: list[str] = field(factory=list)

    def open_folder(self, folder: Path) -> None:
        self.folder = folder
        self.digest = _fill(folder / "up", self.mebibytes)

    async def round(self, executor: Executor, port: int, number: int, *, of: int) -> _Round:
        await _run(executor, "transfer")
        done = _Round()
        for direction in DIRECTIONS:
            self.console.print(f"round {number + 1}/{of}, {direction} ...")
            await self._bare(port, direction, done.ceiling)
            done.alone[direction] = await self._phase(executor, 0, direction)
        done.without = await _beside(executor, self.others, partial(trio.sleep, self.seconds))
        for direction in DIRECTIONS:
            done.beside[direction] = await self._phase(executor, self.others, direction)
            bare = partial(self._bare, port, direction, done.ceiling_beside)
            await _beside(executor, self.others, bare)
        return done

    async def _bare(self, port: int, direction: str, found: dict[str, float]) -> None:
        found[direction] = await measure_bare(port, direction, min(self.mebibytes, BARE_MEBIBYTES))

    async def _phase(self, executor: Executor, others: int, direction: str) -> _Phase:
        if direction == "down":
            return await _beside(executor, others, partial(self._down, executor))
        await _run(executor, "transfer", "rm -f file")  # a workspace may have no room for two of them
        return await _beside(executor, others, partial(self._up, executor))

    async def _up(self, executor: Executor) -> None:
        self._check(await executor.upload("transfer", self.folder / "up", "file"))

    async def _down(self, executor: Executor) -> None:
        self._check(await executor.download("transfer", "file", self.folder / "down"))

    def _check(self, transfer: ht.Transfer) -> None:
        if transfer.sha256 != self.digest:
            self.problems.append(f"a transfer failed: {transfer.error or 'another SHA-256'}")


def _findings(mebibytes: int, rounds: list[_Round]) -> dict[str, float | None]:
    """Medians over rounds; of growth the worst."""
    told = [_told(mebibytes, each) for each in rounds]
    phases = [phase for each in rounds for phase in each.phases()]
    return {
        **{name: median(each[name] for each in told) for name in told[0]},
        "executor_growth_mib": max(phase.executor_growth for phase in phases) / MIB,
        "daemon_growth_mib": max(phase.daemon_growth for phase in phases) / MIB,
    }


def _told(mebibytes: int, each: _Round) -> dict[str, float]:
    """The figures of one round."""
    megabytes = mebibytes * MIB / 1e6
    figures = {"p99_ms": each.without.p99_ms()}
    for direction in DIRECTIONS:
        alone, beside = each.alone[direction], each.beside[direction]
        ceiling, ceiling_beside = each.ceiling[direction] / 1e6, each.ceiling_beside[direction] / 1e6
        figures |= {
            f"{direction}_alone_mb_per_s": megabytes / alone.seconds,
            f"{direction}_ceiling_mb_per_s": ceiling,
            f"{direction}_to_ceiling": megabytes / alone.seconds / ceiling,
            f"{direction}_mb_per_s": megabytes / beside.seconds,
            f"{direction}_ceiling_beside_mb_per_s": ceiling_beside,
            f"{direction}_to_ceiling_beside": megabytes / beside.seconds / ceiling_beside,
            f"{direction}_executor_cpu_ms_per_mb": alone.executor_cpu_s * 1e3 / megabytes,
            f"{direction}_daemon_cpu_ms_per_mb": alone.daemon_cpu_s * 1e3 / megabytes,
            f"p99_{direction}_ms": beside.p99_ms(),
            f"p99_{direction}_to_without": beside.p99_ms() / (each.without.p99_ms() or 1.0),
        }
    return figures


def _fill(path: Path, mebibytes: int) -> str:
    """A file that does not compress; its digest."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(mebibytes):
            piece = os.urandom(MIB)
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


async def _run(executor: Executor, trajectory: str, command: str = "true") -> bool:
    return (await executor.execute(trajectory, ht.ToolCall("bash", {"command": command}))).success


async def _beside(executor: Executor, others: int, work: Callable[[], Awaitable[None]]) -> _Phase:
    """Some work while the others run `true`, one after another each."""
    phase = _Phase()
    [daemon] = daemon_pids()

    async def live(name: str) -> None:
        while True:
            began = time.perf_counter()
            phase.failed += not await _run(executor, name)
            phase.calls.record(time.perf_counter() - began)

    async with trio.open_nursery() as nursery:
        for number in range(others):
            await _run(executor, f"other-{number}")
            nursery.start_soon(live, f"other-{number}")
        nursery.start_soon(_watch, phase, daemon)
        began, ours, theirs = time.perf_counter(), cpu_s(os.getpid()), cpu_s(daemon)
        await work()
        phase.seconds = time.perf_counter() - began
        phase.executor_cpu_s, phase.daemon_cpu_s = cpu_s(os.getpid()) - ours, cpu_s(daemon) - theirs
        nursery.cancel_scope.cancel()
    return phase


async def _watch(phase: _Phase, daemon: int) -> None:
    """How much this process and the daemon grow."""
    ours, theirs = own_bytes(os.getpid()), own_bytes(daemon)
    while True:
        phase.executor_growth = max(phase.executor_growth, own_bytes(os.getpid()) - ours)
        phase.daemon_growth = max(phase.daemon_growth, own_bytes(daemon) - theirs)
        await trio.sleep(_LOOK_EVERY_S)


def make_scenario() -> Scenario:
    """For the registry of scenarios."""
    return Transfer()
