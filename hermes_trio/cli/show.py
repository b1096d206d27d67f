"""What ``run`` shows: progress while it goes on, a table at its end. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from hermes_trio.rollouts.record import Outcome
from hermes_trio.rollouts.report import Summary, Tally

_LINES = 10
"""Lines of progress that a whole run prints where there is no terminal to draw a bar on."""

_MEANINGS = {
    Outcome.UNSOLVED: "the verifier said no",
    Outcome.LIMIT_EXCEEDED: "out of turns or time",
    Outcome.TASK_ERROR: "the task itself failed; masked",
    Outcome.UNAVAILABLE: "no slot to be had; masked",
    Outcome.SANDBOX_LOST: "masked",
    Outcome.LINK_LOST: "masked",
    Outcome.MODEL_ERROR: "the model server failed; masked",
    Outcome.INTERNAL_ERROR: "a bug of ours; masked",
}

_ISOLATION = {
    "ns": "ns (namespaces of its own)",
    "uid": "uid (a user of its own; not fit for untrusted code)",
    "none": "none (nothing stands between a command and this host)",
}


class ShowProgress(Protocol):
    """Called after each finished trajectory."""

    def __call__(self) -> None:
        """Show how far the run is."""
        ...


@contextmanager
def progress_of(tally: Tally, *, console: Console, quiet: bool) -> Iterator[ShowProgress]:
    """A bar on a terminal, a line now and then elsewhere, nothing when quiet."""
    if quiet:
        yield lambda: None
    elif console.is_terminal:
        with _bar(tally, console) as show:
            yield show
    else:
        yield _lines(tally, console)


@contextmanager
def _bar(tally: Tally, console: Console) -> Iterator[ShowProgress]:
    columns = (
        TextColumn("[bold]rollouts"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[solved]} solved, {task.fields[rate]:.1f}/s"),
        TimeElapsedColumn(),
    )
    started = trio.current_time()
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("rollouts", total=tally.planned, solved=0, rate=0.0)

        def show() -> None:
            rate = _rate(tally.finished, started)
            progress.update(bar, completed=tally.finished, solved=tally.solved, rate=rate)

        yield show


def _lines(tally: Tally, console: Console) -> ShowProgress:
    started = trio.current_time()
    step = max(1, tally.planned // _LINES)

    def show() -> None:
        if tally.finished % step == 0 or tally.finished == tally.planned:
            rate = _rate(tally.finished, started)
            line = f"{tally.finished}/{tally.planned} trajectories, {tally.solved} solved, {rate:.1f}/s"
            console.print(line, highlight=False, soft_wrap=True)

    return show


def _rate(finished: int, started: float) -> float:
    return finished / max(trio.current_time() - started, 1e-9)


def print_summary(summary: Summary, *, model: str, out: Path, console: Console) -> None:
    """The table, then where everything is."""
    table = Table(title="rollouts", title_justify="left", show_header=False)
    for name, value in _rows(summary, model):
        table.add_row(name, Text(value))
    console.print(table)
    if summary.interrupted:
        console.print("Interrupted: trajectories under way were given up, the finished ones are kept.")
    console.print(f"{out}/trajectories.jsonl, summary.json", highlight=False, soft_wrap=True)


def _rows(summary: Summary, model: str) -> Iterator[tuple[str, str]]:
    yield "model", model
    yield (
        "trajectories",
        f"{summary.finished} of {summary.planned} ({summary.tasks} tasks x {summary.group_size})",
    )
    yield "solved", f"{summary.solved} ({_percent(summary.solved, summary.finished)})"
    for outcome, count in summary.outcomes.items():
        if outcome is not Outcome.SOLVED:
            yield outcome.value, f"{count} ({_MEANINGS[outcome]})"
    if summary.group_size > 1:
        yield "tasks solved at least once", str(summary.solved_tasks)
        yield "groups with mixed rewards", str(summary.mixed_groups)
    yield "mean reward", "-" if summary.mean_reward is None else f"{summary.mean_reward:.3f}"
    if summary.usage is not None:
        usage = summary.usage
        yield "tokens", f"{usage.prompt_tokens} prompt, {usage.completion_tokens} completion"
    yield "turns", str(summary.turns)
    yield "tool calls", f"{summary.tool_calls} ({summary.tool_errors} errors)"
    yield "tool latency", _latency(summary)
    yield "isolation", ", ".join(_ISOLATION.get(level, level) for level in summary.isolation) or "-"
    yield "wall time", f"{summary.wall_s:.1f} s"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _latency(summary: Summary) -> str:
    histogram = summary.tool_latency
    if not histogram.count:
        return "-"
    return ", ".join(f"p{p} {1000 * histogram.percentile(p):.1f} ms" for p in (50, 95, 99))
