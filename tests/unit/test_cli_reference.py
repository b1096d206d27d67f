"""The reference pages name what there is: options, outcomes, members of records, fields of tasks."""

from __future__ import annotations

import argparse
from pathlib import Path

import attrs
import pytest

from hermes_trio.agents.limits import LoopLimits
from hermes_trio.agents.result import Ending as LoopEnding
from hermes_trio.cli import VERBS, make_parser
from hermes_trio.errors import Provenance
from hermes_trio.rollouts.group import Assignment
from hermes_trio.rollouts.record import Ending, Outcome, Stage
from hermes_trio.rollouts.report import Tally
from hermes_trio.rollouts.tasks import Task, TaskLimits

PAGES = Path(__file__).resolve().parents[2] / "docs" / "reference"
TASK = Task(id="a", prompt="p", verifier="true")


def _run_options():
    parser = make_parser(["run"])
    subparsers = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return [
        action.option_strings[0] for action in subparsers.choices["run"]._actions if action.option_strings
    ]


def _members():
    return (
        Assignment(task=TASK, index=0)
        .record(Ending(stage=Stage.AGENT, provenance=Provenance.OK))
        .to_mapping()
    )


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("cli.md", [f"`hermes-trio {verb}`" for verb in VERBS]),
        ("cli.md", [f"| `{option}" for option in _run_options() if option != "-h"]),
        ("cli.md", [f"| `{outcome.value}` |" for outcome in Outcome]),
        ("cli.md", [f"`{member}`" for member in _members()]),
        (
            "cli.md",
            [
                f"`{name}`"
                for name in Tally([TASK], group_size=1).summary(wall_s=0).to_mapping()
                if "_" in name
            ],
        ),
        ("task-file.md", [f"| `{each.name}` |" for each in attrs.fields(Task)]),
        ("task-file.md", [f"| `{each.name}` |" for each in attrs.fields(TaskLimits)]),
        ("agent-loop.md", [f"| `{each.value}` |" for each in LoopEnding]),
        ("agent-loop.md", [f"| `{each.name}` |" for each in attrs.fields(LoopLimits)]),
    ],
    ids=["verbs", "options", "outcomes", "records", "summary", "tasks", "limits", "endings", "loop"],
)
def test_the_page_names_everything_there_is(page, words):
    """What is added to the code is added to its page."""
    text = (PAGES / page).read_text(encoding="utf-8")
    assert [word for word in words if word not in text] == []
