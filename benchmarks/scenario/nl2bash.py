"""Thousands of commands that people wrote, many destructive or endless, slots reset in between.

Not a comparison: it asks whether every call gets a typed result, and whether anything is left behind. The
executor runs in this process, so that its memory can be watched beside the daemon's.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import trio
from attrs import asdict, define, field, frozen
from rich.console import Console

import hermes_trio as ht
from benchmarks.lib.environment import capture_environment
from benchmarks.lib.host_state import HostChanges, HostState, capture_host_state, compare, watched_roots
from benchmarks.lib.report import Report
from benchmarks.lib.watch import Watch
from benchmarks.scenario.base import BenchOptions, Scenario, open_progress
from hermes_trio.errors import HermesTrioError, InvalidInputError
from hermes_trio.telemetry import LogHistogram

SLOTS = 64
LIMIT_S = 5.0
SMOKE_SLOTS = 4
SMOKE_LIMIT_S = 1.0
SMOKE_COMMANDS = (
    "echo hello",
    "ls -la / | head -3",
    "false",
    "sleep 60",
    "yes",
    "rm -rf /etc /usr /home",
    "kill -9 -1",
    "setsid sleep 300 & echo left behind",
    "no_such_program --help",
    "cat",
    "echo 'unbalanced",
    "find . -type f -print0 | xargs -0 wc -l",
)


def read_commands(path: Path, *, sample: int | None, seed: int) -> list[str]:
    """One command a line; empty lines do not count. A sample keeps the file's order.

    Raises:
        InvalidInputError: the file cannot be read, or holds no command.
    """
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise InvalidInputError(error.strerror or str(error), source=str(path), field="--commands") from error
    commands = [line for line in text.splitlines() if line.strip()]
    if not commands:
        raise InvalidInputError("holds no command", source=str(path), field="--commands")
    if sample is None or sample >= len(commands):
        return commands
    chosen = sorted(random.Random(seed).sample(range(len(commands)), sample))
    return [commands[index] for index in chosen]


@frozen(kw_only=True)
class _Setting:
    commands: Sequence[str]
    slots: int
    limit_s: float


def _setting(options: BenchOptions) -> _Setting:
    if options.commands is not None:
        commands: Sequence[str] = read_commands(options.commands, sample=options.sample, seed=options.seed)
    elif options.smoke:
        commands = SMOKE_COMMANDS
    else:
        raise InvalidInputError("this scenario needs a file of commands", source="bench", field="--commands")
    slots = options.slots or (SMOKE_SLOTS if options.smoke else SLOTS)
    return _Setting(commands=commands, slots=slots, limit_s=SMOKE_LIMIT_S if options.smoke else LIMIT_S)


@define
class _Tally:
    """What came of the commands."""

    by_provenance: Counter[str] = field(factory=Counter)
    raised: Counter[str] = field(factory=Counter)
    """Calls, or releases, that raised instead of answering: none should."""
    latency: LogHistogram = field(factory=LogHistogram)
    reset: LogHistogram = field(factory=LogHistogram)


class Nl2Bash(Scenario):
    """See the module."""

    name = "nl2bash"
    summary = "a file of real commands, each once, slots reset in between: typed results, nothing left behind"

    async def run(self, options: BenchOptions, console: Console) -> Report:
        """See the base class.

        Cancellation: *shielded, at most 30 s*: executor and daemon are stopped first.
        """
        setting = _setting(options)
        environment = capture_environment()
        roots = watched_roots(home=not options.smoke)
        before = await trio.to_thread.run_sync(capture_host_state, roots)
        watch, tally = Watch(), _Tally()
        started_s = time.perf_counter()
        await self._run_all(setting, console, watch, tally)
        wall_s = time.perf_counter() - started_s
        after = await trio.to_thread.run_sync(capture_host_state, roots)
        changes = compare(before, after)
        survivors = [f"{process.name} ({process.pid})" for process in watch.survivors()]
        return Report(
            scenario=self.name,
            smoke=options.smoke,
            environment=environment,
            parameters={
                **options.parameters(),
                "isolation": "required",
                "slots": setting.slots,
                "limit_s": setting.limit_s,
            },
            findings=_findings(tally, watch, changes, survivors),
            details=_details(setting, tally, watch, (before, after), changes, wall_s),
            remarks=_remarks(before, after, changes),
            problems=_problems(setting, tally, survivors, changes, watch.left_directories()),
        )

    async def _run_all(self, setting: _Setting, console: Console, watch: Watch, tally: _Tally) -> None:
        config = ht.ExecutorConfig(allow_network=False)
        async with (
            # Never less, whatever was asked for: some of these commands remove the host they run on.
            ht.open_local_backend(slots=setting.slots, isolation="required") as backend,
            ht.open_executor(backend, config=config) as executor,
        ):
            with open_progress(console) as progress:
                task = progress.add_task("commands", total=len(setting.commands))
                watch.warm_after = max(setting.slots, len(setting.commands) // 10)
                async with trio.open_nursery() as watching:
                    watching.start_soon(watch.run)
                    await _run_commands(executor, setting, tally, lambda: progress.advance(task), watch)
                    watch.look()
                    watching.cancel_scope.cancel()


async def _run_commands(
    executor: ht.Executor, setting: _Setting, tally: _Tally, advance: Callable[[], object], watch: Watch
) -> None:
    """As many workers as slots; each takes the next command as soon as its last one's slot is clean."""
    work = iter(enumerate(setting.commands))

    async def work_off(work: Iterator[tuple[int, str]]) -> None:
        await trio.lowlevel.checkpoint()
        for number, command in work:
            await _run_one(executor, f"nl2bash-{number}", command, setting.limit_s, tally)
            watch.done += 1
            advance()

    async with trio.open_nursery() as nursery:
        for _ in range(setting.slots):
            nursery.start_soon(work_off, work)


async def _run_one(
    executor: ht.Executor, trajectory_id: str, command: str, limit_s: float, tally: _Tally
) -> None:
    started_s = time.perf_counter()
    try:
        call = ht.ToolCall(name="bash", arguments={"command": command})
        result = await executor.execute(trajectory_id, call, limit_s=limit_s)
        tally.by_provenance[str(result.provenance)] += 1
        ended_s = time.perf_counter()
        tally.latency.record(ended_s - started_s)
        await executor.release(trajectory_id, reset_workspace=True)
        tally.reset.record(time.perf_counter() - ended_s)
    except HermesTrioError as error:
        await trio.lowlevel.checkpoint()
        tally.raised[f"{type(error).__name__}: {error}"[:200]] += 1


def _findings(
    tally: _Tally, watch: Watch, changes: HostChanges, survivors: Sequence[str]
) -> dict[str, float | None]:
    return {
        "calls_answered": tally.latency.count,
        "calls_that_raised": tally.raised.total(),
        "survivors": len(survivors),
        "changed_files": len(changes.files),
        "daemon_growth_mib": watch.daemon.growth_mib,
        "executor_growth_mib": watch.executor.growth_mib,
        "p50_ms": tally.latency.percentile(50) * 1e3,
        "p99_ms": tally.latency.percentile(99) * 1e3,
        "max_ms": tally.latency.max_s * 1e3,
        "reset_p50_ms": tally.reset.percentile(50) * 1e3,
        "reset_p99_ms": tally.reset.percentile(99) * 1e3,
    }


def _details(
    setting: _Setting,
    tally: _Tally,
    watch: Watch,
    states: tuple[HostState, HostState],
    changes: HostChanges,
    wall_s: float,
) -> dict[str, Any]:
    before, after = states
    return {
        "commands": len(setting.commands),
        "wall_s": round(wall_s, 1),
        "by_provenance": dict(tally.by_provenance.most_common()),
        "raised": dict(tally.raised.most_common(10)),
        "latency": tally.latency.to_mapping(),
        "reset": tally.reset.to_mapping(),
        "memory": {"daemon": asdict(watch.daemon), "executor": asdict(watch.executor)},
        "files_compared": len(before.files),
        "files_sha256": {"before": before.digest(), "after": after.digest()},
        **{f"new_{name}": list(found) for name, found in asdict(changes).items()},
    }


def _remarks(before: HostState, after: HostState, changes: HostChanges) -> tuple[str, ...]:
    remarks = []
    if not (before.complete and after.complete):
        remarks.append("the watched directories hold too many files: some were not compared")
    for what in ("mounts", "cgroups", "temporary"):
        names = getattr(changes, what)
        if names:
            remarks.append(f"new {what}, of whomever: {', '.join(names)}")
    return tuple(remarks)


def _problems(
    setting: _Setting,
    tally: _Tally,
    survivors: Sequence[str],
    changes: HostChanges,
    left_directories: Sequence[str],
) -> tuple[str, ...]:
    problems = []
    unanswered = len(setting.commands) - tally.latency.count
    if unanswered:
        problems.append(f"{unanswered} commands got no typed result: {tally.raised.most_common(1)}")
    if survivors:
        problems.append(f"{len(survivors)} processes survived: {', '.join(survivors[:10])}")
    if changes.files:
        problems.append(f"files outside the workspaces changed: {', '.join(changes.files)}")
    if left_directories:
        problems.append(f"{len(left_directories)} data directories of daemons were left")
    return tuple(problems)


def make_scenario() -> Scenario:
    """For the registry of scenarios."""
    return Nl2Bash()
