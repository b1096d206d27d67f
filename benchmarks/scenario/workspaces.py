"""What whole workspaces cost: fork 100 MB in 5,000 files 8 ways, reset, begin with a base, differ from it.

And what it costs to save one in a file, and to restore it: that one, whose files are all the same and hardly
travel, and another of 100 MB that cannot be compressed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from attrs import define, field
from rich.console import Console

import hermes_trio as ht
from benchmarks.lib.environment import capture_environment
from benchmarks.lib.plots import draw_findings
from benchmarks.lib.report import Report
from benchmarks.scenario.base import BenchOptions, Scenario
from hermes_trio.executor.executor import Executor
from hermes_trio.executor.workspaces import BaseId
from hermes_trio.telemetry import LogHistogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WAYS = 8
FILES, FILE_BYTES = 5_000, 20_000
ROUNDS = 30
LARGE_FILES = 5
MEGABYTE = 1_000_000
SHARES = (50, 95, 99)
_FILL = """
mkdir d{{0..49}}; head -c {bytes} /dev/urandom > seed
for i in $(seq {files}); do cp seed d$((i % 50))/f$i; done; rm seed
"""
_FILL_RANDOM = "for i in $(seq {files}); do head -c {bytes} /dev/urandom > f$i; done"


@define
class _Tally:
    fork: LogHistogram = field(factory=LogHistogram)
    reset: LogHistogram = field(factory=LogHistogram)
    use_base: LogHistogram = field(factory=LogHistogram)
    diff: LogHistogram = field(factory=LogHistogram)
    snapshot_files: LogHistogram = field(factory=LogHistogram)
    restore_files: LogHistogram = field(factory=LogHistogram)
    snapshot_random: LogHistogram = field(factory=LogHistogram)
    restore_random: LogHistogram = field(factory=LogHistogram)
    upload_random: LogHistogram = field(factory=LogHistogram)
    wrong: int = 0


class Workspaces(Scenario):
    """See the module."""

    name = "workspaces"
    summary = (
        "fork a workspace of 100 MB 8 ways, reset, begin with a base, differ, save, restore: how long each?"
    )

    async def run(self, options: BenchOptions, console: Console) -> Report:
        """See the base class.

        Cancellation: *shielded, at most 13 s*: the executor and its daemon are closed.
        """
        environment, tally = capture_environment(), _Tally()
        rounds = options.rounds or (2 if options.smoke else ROUNDS)
        files = FILES // 20 if options.smoke else FILES
        random_bytes = (2 if options.smoke else 20) * MEGABYTE
        isolation = cast(Literal["auto", "required", "none"], options.isolation)
        async with (
            ht.open_local_backend(slots=WAYS + 2, isolation=isolation) as backend,
            ht.open_executor(backend, config=ht.ExecutorConfig(allow_network=False)) as executor,
        ):
            await _bash(executor, "parent", _FILL.format(bytes=FILE_BYTES, files=files))
            base = await executor.build_base("parent")
            for number in range(rounds):
                console.print(f"round {number + 1}/{rounds} ...")
                await _round(executor, base, files, tally)
            await _bash(executor, "random", _FILL_RANDOM.format(bytes=random_bytes, files=LARGE_FILES))
            with tempfile.TemporaryDirectory() as folder:
                for number in range(rounds):
                    console.print(f"archives {number + 1}/{rounds} ...")
                    await _archives(executor, Path(folder), tally)
        return Report(
            scenario=self.name,
            smoke=options.smoke,
            environment=environment,
            parameters={
                **options.parameters(),
                "rounds": rounds,
                "files": files,
                "random_bytes": LARGE_FILES * random_bytes,
            },
            findings=_findings(tally),
            details={"forks": tally.fork.to_mapping(), "resets": tally.reset.to_mapping()},
            problems=(f"{tally.wrong} workspaces were not what they had to be",) if tally.wrong else (),
        )

    def draw(self, report: Report, figure: Figure) -> None:
        """The findings as bars."""
        draw_findings(report, figure)


async def _round(executor: Executor, base: BaseId, files: int, tally: _Tally) -> None:
    children = [f"child-{number}" for number in range(WAYS)]
    await _bash(executor, "parent", "date +%N > changed")
    await _timed(tally.fork, executor.fork("parent", into=children))
    for child in children:
        tally.wrong += await _bash(executor, child, f"echo {child} > mine; find . -name 'f*' | wc -l") != str(
            files
        )
    tally.wrong += await _bash(executor, "parent", "ls mine 2>/dev/null | wc -l") != "0"
    await _timed(tally.diff, executor.diff(children[0], max_entries=20_000))
    for child in children:
        await _timed(tally.reset, executor.reset(child))
        tally.wrong += await _bash(executor, child, "ls -A | wc -l") != "0"
    await _timed(tally.use_base, executor.use_base(children[0], base))
    tally.wrong += await _bash(executor, children[0], "find . -name 'f*' | wc -l") != str(files)
    for child in children:
        await executor.release(child)


async def _archives(executor: Executor, folder: Path, tally: _Tally) -> None:
    """Both kinds of workspace there and back, and beside them the transfer that neither can be faster than.

    The slot that is restored into is the same each time: it has held what it gets.
    """
    pairs = (
        ("parent", tally.snapshot_files, tally.restore_files),
        ("random", tally.snapshot_random, tally.restore_random),
    )
    for name, snapshot, restore in pairs:
        archive, copy = folder / name, f"copy of {name}"
        await _timed(snapshot, executor.snapshot_workspace(name, archive))
        await _timed(restore, executor.restore_workspace(copy, archive))
        tally.wrong += await _bash(executor, copy, _SUM) != await _bash(executor, name, _SUM)
    await _bash(executor, "upload", "rm -f archive")
    await _timed(tally.upload_random, executor.upload("upload", folder / "random", "archive"))


_SUM = "find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum"


async def _timed(histogram: LogHistogram, work: Awaitable[object]) -> None:
    began = time.perf_counter()
    await work
    histogram.record(time.perf_counter() - began)


async def _bash(executor: Executor, trajectory_id: str, command: str) -> str:
    call = ht.ToolCall(name="bash", arguments={"command": command})
    result = await executor.execute(trajectory_id, call, limit_s=120.0)
    return result.output if result.success else f"failed: {result.error}"


def _findings(tally: _Tally) -> dict[str, float]:
    histograms = {
        "fork_8_ways": tally.fork,
        "reset": tally.reset,
        "use_base": tally.use_base,
        "diff": tally.diff,
        "snapshot_files": tally.snapshot_files,
        "restore_files": tally.restore_files,
        "snapshot_random": tally.snapshot_random,
        "restore_random": tally.restore_random,
        "upload_random": tally.upload_random,
    }
    return {
        f"{name}_p{share}_ms": histogram.percentile(share) * 1e3
        for name, histogram in histograms.items()
        for share in SHARES
    }


def make_scenario() -> Scenario:
    """For the registry of scenarios."""
    return Workspaces()
