"""What ``run`` shows: a bar, lines, or nothing; and a table that says who failed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import trio
from attrs import evolve
from rich.console import Console

from hermes_trio.cli.show import print_summary, progress_of
from hermes_trio.errors import Provenance
from hermes_trio.models.completion import Usage
from hermes_trio.rollouts.group import plan_trajectories
from hermes_trio.rollouts.record import CallTiming, Ending, Outcome, Stage
from hermes_trio.rollouts.report import Tally
from hermes_trio.rollouts.tasks import Task

SOLVED = Ending(stage=Stage.VERIFIER, provenance=Provenance.OK, solved=True)


def _tasks(count):
    return [Task(id=f"t{n}", prompt="p", verifier="true") for n in range(count)]


async def _shown(tally, tasks, *, terminal, quiet=False):
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=100, legacy_windows=False)
    with progress_of(tally, console=console, quiet=quiet) as show:
        for assignment in plan_trajectories(tasks, group_size=1):
            await trio.sleep(0.5)
            tally.add(assignment.record(SOLVED))
            show()
    return text.getvalue()


async def test_without_a_terminal_there_is_a_line_now_and_then(autojump_clock):
    """Some ten for a whole run, and one at its end."""
    tasks = _tasks(25)
    lines = (await _shown(Tally(tasks, group_size=1), tasks, terminal=False)).splitlines()
    assert len(lines) == 13
    assert lines[0].startswith("2/25 trajectories, 2 solved, 2.0/s")
    assert lines[-1].startswith("25/25 trajectories, 25 solved, 2.0/s")


async def test_on_a_terminal_there_is_a_bar(autojump_clock):
    """With what is done and what is solved."""
    tasks = _tasks(3)
    text = await _shown(Tally(tasks, group_size=1), tasks, terminal=True)
    assert "3/3" in text
    assert "3 solved" in text


async def test_quiet_shows_nothing(autojump_clock):
    """On a terminal or not."""
    tasks = _tasks(3)
    assert await _shown(Tally(tasks, group_size=1), tasks, terminal=True, quiet=True) == ""


def _table(tally, **options):
    text = io.StringIO()
    summary = tally.summary(wall_s=1.25)
    print_summary(
        summary, model="m [red]x", out=Path("runs/1"), console=Console(file=text, width=120, **options)
    )
    return text.getvalue()


def test_the_table_says_who_failed_and_what_it_cost():
    """One row for each outcome, tokens when known, percentiles of the calls."""
    tasks = _tasks(2)
    tally = Tally(tasks, group_size=2)
    plan = list(plan_trajectories(tasks, group_size=2))
    timing = CallTiming(tool="bash", provenance=Provenance.OK, latency_s=0.02)
    usage = Usage(prompt_tokens=10, completion_tokens=3)
    tally.add(evolve(plan[0].record(SOLVED), turns=4, calls=[timing] * 3, usage=usage, isolation="ns"))
    tally.add(plan[1].record(evolve(SOLVED, solved=False)))
    tally.add(plan[2].record(Ending(stage=Stage.AGENT, provenance=Provenance.MODEL_ERROR)))
    table = _table(tally)
    for part in (
        "m [red]x",
        "3 of 4 (2 tasks x 2)",
        "1 (33.3 %)",
        "1 (the verifier said no)",
        "1 (the model server failed; masked)",
        "10 prompt, 3 completion",
        "3 (0 errors)",
        "p50 20.",
        "ns (namespaces of its own)",
        "1.2 s",
        "0.500",
        "Interrupted: trajectories under way were given up, the finished ones are kept.",
        "runs/1/trajectories.jsonl",
    ):
        assert part in table


def test_a_table_of_nothing_has_dashes():
    """A run that was interrupted before anything finished."""
    table = _table(Tally(_tasks(1), group_size=1))
    assert "0 of 1" in table
    assert "tokens" not in table


@pytest.mark.parametrize("outcome", [each for each in Outcome if each is not Outcome.SOLVED])
def test_every_outcome_has_its_meaning_in_the_table(outcome):
    """A new outcome cannot be forgotten there."""
    tasks = _tasks(1)
    tally = Tally(tasks, group_size=1)
    provenance = {
        Outcome.UNSOLVED: Provenance.OK,
        Outcome.TASK_ERROR: Provenance.DENIED,
    }.get(outcome) or Provenance(outcome.value)
    solved = None if outcome is Outcome.TASK_ERROR else False
    ending = Ending(stage=Stage.AGENT, provenance=provenance, solved=solved)
    assert ending.outcome is outcome
    tally.add(next(plan_trajectories(tasks, group_size=1)).record(ending))
    assert outcome.value in _table(tally)
