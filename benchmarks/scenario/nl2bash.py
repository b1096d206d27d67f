"""Thousands of commands that people wrote, many destructive or endless, slots reset in between.

Not a comparison: it asks whether every call gets a typed result, whether anything is left behind, and
whether memory stays flat. The executor has a process to itself (``lib/commands.py``), watched from this one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import trio
from attrs import asdict
from rich.console import Console

from benchmarks.lib.children import Child, open_child
from benchmarks.lib.converter import from_line, to_line
from benchmarks.lib.environment import capture_environment
from benchmarks.lib.host_state import HostChanges, HostState, capture_host_state, compare, watched_roots
from benchmarks.lib.memory import MAX_DRIFT_MIB, Drift, MemorySeries
from benchmarks.lib.protocol import CommandsOrder, CommandsOutcome, Reply, ReplyKind
from benchmarks.lib.report import Report
from benchmarks.lib.tables import figure as shown
from benchmarks.lib.watch import Watch
from benchmarks.scenario.base import BenchOptions, Scenario, open_progress
from hermes_trio.errors import InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SLOTS = 64
LIMIT_S = 5.0
MAX_FILE_BYTES = 4 * 1024 * 1024
"""Some 50,000 commands: the order is one line, and lines are bounded."""
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


_Drifts = Mapping[str, Drift | None]
"""By side: ``executor``, ``daemon``."""


def read_commands(path: Path, *, sample: int | None, seed: int) -> list[str]:
    """One command a line; empty lines do not count. A sample keeps the file's order.

    Raises:
        InvalidInputError: the file cannot be read, holds no command, or far too many.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            text = f"has more than {MAX_FILE_BYTES // 2**20} MiB, which is days of work: take a part of it"
            raise InvalidInputError(text, source=str(path), field="--commands")
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


def _order(options: BenchOptions) -> CommandsOrder:
    if options.commands is not None:
        commands: Sequence[str] = read_commands(options.commands, sample=options.sample, seed=options.seed)
    elif options.smoke:
        commands = SMOKE_COMMANDS
    else:
        raise InvalidInputError("this scenario needs a file of commands", source="bench", field="--commands")
    return CommandsOrder(
        commands=tuple(commands),
        rounds=options.rounds or 1,
        slots=options.slots or (SMOKE_SLOTS if options.smoke else SLOTS),
        limit_s=SMOKE_LIMIT_S if options.smoke else LIMIT_S,
    )


class Nl2Bash(Scenario):
    """See the module."""

    name = "nl2bash"
    summary = "a file of real commands, each once, slots reset in between: typed results, nothing left behind"

    async def run(self, options: BenchOptions, console: Console) -> Report:
        """See the base class.

        Cancellation: *shielded, at most 30 s*: executor and daemon are stopped first.
        """
        order = _order(options)
        environment = capture_environment()
        roots = watched_roots(home=not options.smoke)
        before = await trio.to_thread.run_sync(capture_host_state, roots)
        watch = Watch()
        started_s = time.perf_counter()
        outcome = await _run_all(order, console, watch)
        wall_s = time.perf_counter() - started_s
        after = await trio.to_thread.run_sync(capture_host_state, roots)
        changes = compare(before, after)
        survivors = [f"{process.name} ({process.pid})" for process in watch.survivors()]
        drifts = {who: series.drift(warm_after=_warm_after(order)) for who, series in _sides(watch)}
        return Report(
            scenario=self.name,
            smoke=options.smoke,
            environment=environment,
            parameters={
                **options.parameters(),
                "isolation": "required",
                "rounds": order.rounds,
                "slots": order.slots,
                "limit_s": order.limit_s,
            },
            findings=_findings(outcome, drifts, changes, survivors),
            details=_details(order, outcome, watch, (before, after), changes, wall_s),
            remarks=_remarks(before, after, changes),
            problems=_problems(order, outcome, drifts, survivors, changes, watch.left_directories()),
        )

    def draw(self, report: Report, figure: Figure) -> None:
        """Memory over calls; the height of each panel is what counts as flat."""
        memory = report.details["memory"]
        for panel, who in zip(figure.subplots(1, 2), ("executor", "daemon"), strict=True):
            series = memory[who]
            panel.axvspan(0, memory["warm_after_calls"], color="#eeeeee", label="warm-up")
            panel.plot(series["calls"], series["mib"], color="#0072b2", marker="o", label="own memory")
            middle = median(series["mib"] or [0.0])
            panel.set_ylim(middle - MAX_DRIFT_MIB / 2, middle + MAX_DRIFT_MIB / 2)
            panel.set_xlabel("calls")
            panel.set_ylabel("MiB")
            panel.set_title(f"{who}: {shown(report.findings[f'{who}_slope_bytes_per_call'])} bytes a call")
            panel.legend(frameon=False)
        figure.suptitle(f"{report.scenario}: memory of each process, {MAX_DRIFT_MIB:g} MiB from edge to edge")


async def _run_all(order: CommandsOrder, console: Console, watch: Watch) -> CommandsOutcome:
    """Runs the executor in a process of its own, and watches it from here."""
    async with open_child("benchmarks.lib.commands") as child, trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        await child.write_line(to_line(order))
        reply = await _follow(child, order, console, watch)
        nursery.cancel_scope.cancel()
    if reply.commands is None:
        raise UnavailableError(reply.text)
    return reply.commands


async def _follow(child: Child, order: CommandsOrder, console: Console, watch: Watch) -> Reply:
    with open_progress(console) as progress:
        task = progress.add_task("commands", total=order.total)
        while (reply := from_line(await child.read_line(), Reply)).kind is ReplyKind.PROGRESS:
            watch.measure(child.pid, calls=reply.done)
            progress.update(task, completed=reply.done)
    return reply


def _sides(watch: Watch) -> tuple[tuple[str, MemorySeries], ...]:
    return (("executor", watch.executor), ("daemon", watch.daemon))


def _warm_after(order: CommandsOrder) -> int:
    """Every slot was used, pools are full, code is loaded."""
    return max(order.slots, len(order.commands) // 10)


def _findings(
    outcome: CommandsOutcome, drifts: _Drifts, changes: HostChanges, survivors: Sequence[str]
) -> dict[str, float | None]:
    latency, reset = outcome.latency, outcome.reset
    memory: dict[str, float | None] = {}
    for who, drift in drifts.items():
        memory[f"{who}_drift_mib"] = None if drift is None else round(drift.mib, 2)
        memory[f"{who}_slope_bytes_per_call"] = None if drift is None else round(drift.slope_bytes, 1)
    return {
        "calls_answered": latency.count,
        "calls_that_raised": sum(outcome.raised.values()),
        "survivors": len(survivors),
        "changed_files": len(changes.files),
        **memory,
        "p50_ms": latency.percentile(50) * 1e3,
        "p99_ms": latency.percentile(99) * 1e3,
        "max_ms": latency.max_s * 1e3,
        "reset_p50_ms": reset.percentile(50) * 1e3,
        "reset_p99_ms": reset.percentile(99) * 1e3,
    }


def _details(
    order: CommandsOrder,
    outcome: CommandsOutcome,
    watch: Watch,
    states: tuple[HostState, HostState],
    changes: HostChanges,
    wall_s: float,
) -> dict[str, Any]:
    before, after = states
    memory = {who: series.to_mapping() for who, series in _sides(watch)}
    return {
        "commands": order.total,
        "wall_s": round(wall_s, 1),
        "by_provenance": dict(outcome.by_provenance),
        "raised": dict(outcome.raised),
        "latency": outcome.latency.to_mapping(),
        "reset": outcome.reset.to_mapping(),
        "memory": {"warm_after_calls": _warm_after(order), **memory},
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
    order: CommandsOrder,
    outcome: CommandsOutcome,
    drifts: _Drifts,
    survivors: Sequence[str],
    changes: HostChanges,
    left_directories: Sequence[str],
) -> tuple[str, ...]:
    problems = []
    unanswered = order.total - outcome.latency.count
    if unanswered:
        problems.append(f"{unanswered} commands got no typed result: {list(outcome.raised.items())[:1]}")
    for who, drift in drifts.items():
        objection = drift and drift.objection(who)
        if objection:
            problems.append(objection)
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
