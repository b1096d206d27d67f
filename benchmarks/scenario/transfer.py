"""A GiB up and down through the one link while 32 trajectories run `true`: how fast, and do they notice?

The same trajectories run without a transfer first, for as long. Memory is that of this process and of the
daemon, at its highest while the bytes went by, less what it was before.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import trio
from attrs import define, field
from rich.console import Console

import hermes_trio as ht
from benchmarks.chaos.kills import daemon_pids
from benchmarks.lib.environment import capture_environment
from benchmarks.lib.plots import draw_findings
from benchmarks.lib.processes import own_bytes
from benchmarks.lib.report import Report
from benchmarks.scenario.base import BenchOptions, Scenario
from hermes_trio.executor.executor import Executor
from hermes_trio.telemetry import LogHistogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIB = 1024 * 1024
MEBIBYTES = 1024
TRAJECTORIES = 32
SECONDS = 5.0
_LOOK_EVERY_S = 0.05


@define
class _Phase:
    """What was measured while one thing went on."""

    calls: LogHistogram = field(factory=LogHistogram)
    failed: int = 0
    seconds: float = 0.0
    growth: dict[int, int] = field(factory=dict)

    def p99_ms(self) -> float:
        return self.calls.percentile(99) * 1e3


class Transfer(Scenario):
    """See the module."""

    name = "transfer"
    summary = "1 GiB up and down through one link beside 32 trajectories: MB/s, and what the others notice"

    async def run(self, options: BenchOptions, console: Console) -> Report:
        """See the base class.

        Cancellation: *shielded, at most 36 s*: the daemon is stopped first.
        """
        environment = capture_environment()
        mebibytes = 8 if options.smoke else MEBIBYTES
        others = 4 if options.smoke else (options.trajectories or (TRAJECTORIES,))[0]
        seconds = 0.25 if options.smoke else options.seconds or SECONDS
        with tempfile.TemporaryDirectory(prefix="hermes-trio-transfer-") as folder:
            here = Path(folder)
            digest = _fill(here / "up", mebibytes)
            async with (
                ht.open_local_backend(
                    slots=others + 1, isolation=cast("Literal['auto', 'required', 'none']", options.isolation)
                ) as backend,
                ht.open_executor(backend) as executor,
            ):
                await _true(executor, "transfer")
                console.print(f"{others} trajectories alone ...")
                alone = await _beside(executor, others, partial(trio.sleep, seconds))
                console.print(f"{mebibytes} MiB up ...")
                transfers: list[ht.Transfer] = []

                async def up() -> None:
                    transfers.append(await executor.upload("transfer", here / "up", "file"))

                async def down() -> None:
                    transfers.append(await executor.download("transfer", "file", here / "down"))

                with_up = await _beside(executor, others, up)
                console.print(f"{mebibytes} MiB down ...")
                with_down = await _beside(executor, others, down)
        wrong = [each.error or "another SHA-256" for each in transfers if each.sha256 != digest]
        failed = alone.failed + with_up.failed + with_down.failed
        problems = [f"a transfer failed: {why}" for why in wrong] + [f"{failed} calls failed"] * bool(failed)
        return Report(
            scenario=self.name,
            smoke=options.smoke,
            environment=environment,
            parameters={**options.parameters(), "mebibytes": mebibytes, "trajectories": others},
            findings=_findings(mebibytes, alone, with_up, with_down),
            details={"sha256": digest, "calls": with_up.calls.count + with_down.calls.count},
            problems=tuple(problems),
        )

    def draw(self, report: Report, figure: Figure) -> None:
        """The findings as bars."""
        draw_findings(report, figure)


def _findings(mebibytes: int, alone: _Phase, up: _Phase, down: _Phase) -> dict[str, float | None]:
    size = mebibytes * MIB / 1e6
    return {
        "up_mb_per_s": size / up.seconds,
        "down_mb_per_s": size / down.seconds,
        "p99_ms": alone.p99_ms(),
        "p99_up_ms": up.p99_ms(),
        "p99_down_ms": down.p99_ms(),
        "growth_mib": max(*up.growth.values(), *down.growth.values()) / MIB,
    }


def _fill(path: Path, mebibytes: int) -> str:
    """A file that does not compress; its digest."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(mebibytes):
            piece = os.urandom(MIB)
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


async def _true(executor: Executor, trajectory: str) -> bool:
    return (await executor.execute(trajectory, ht.ToolCall("bash", {"command": "true"}))).success


async def _beside(executor: Executor, others: int, work: Callable[[], Awaitable[None]]) -> _Phase:
    """Some work while the others run `true`, one after another each."""
    phase = _Phase()

    async def live(name: str) -> None:
        while True:
            began = time.perf_counter()
            phase.failed += not await _true(executor, name)
            phase.calls.record(time.perf_counter() - began)

    async with trio.open_nursery() as nursery:
        for number in range(others):
            await _true(executor, f"other-{number}")
            nursery.start_soon(live, f"other-{number}")
        nursery.start_soon(_watch, phase)
        began = time.perf_counter()
        await work()
        phase.seconds = time.perf_counter() - began
        nursery.cancel_scope.cancel()
    return phase


async def _watch(phase: _Phase) -> None:
    """How much this process and the daemon grow."""
    before = {pid: own_bytes(pid) for pid in (os.getpid(), *daemon_pids())}
    while True:
        for pid, size in before.items():
            phase.growth[pid] = max(phase.growth.get(pid, 0), own_bytes(pid) - size)
        await trio.sleep(_LOOK_EVERY_S)


def make_scenario() -> Scenario:
    """For the registry of scenarios."""
    return Transfer()
