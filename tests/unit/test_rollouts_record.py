"""Records, groups and tallies: an infrastructure failure is never a reward of 0."""

from __future__ import annotations

import json

import pytest
from attrs import evolve

from hermes_trio.agents.result import ToolError
from hermes_trio.errors import (
    BusyError,
    ClosedError,
    LinkLostError,
    Provenance,
    SandboxLostError,
    TooSlowError,
    UnavailableError,
)
from hermes_trio.models.completion import Usage
from hermes_trio.rollouts import report
from hermes_trio.rollouts.group import Assignment, GroupTally, plan_trajectories
from hermes_trio.rollouts.record import CallTiming, Ending, Outcome, Stage, TrajectoryRecord, provenance_of
from hermes_trio.rollouts.report import Tally
from hermes_trio.rollouts.tasks import Task

SOLVED = Ending(stage=Stage.VERIFIER, provenance=Provenance.OK, solved=True)
UNSOLVED = evolve(SOLVED, solved=False)


def _ending(provenance, solved=None, stage=Stage.AGENT):
    return Ending(stage=stage, provenance=provenance, solved=solved)


def _task(task_id="a"):
    return Task(id=task_id, prompt="p", verifier="true")


def _record(ending=SOLVED, *, task_id="a", index=0, **fields):
    return evolve(Assignment(task=_task(task_id), index=index).record(ending), **fields)


@pytest.mark.parametrize(
    ("ending", "outcome", "reward"),
    [
        (SOLVED, Outcome.SOLVED, 1.0),
        (UNSOLVED, Outcome.UNSOLVED, 0.0),
        (_ending(Provenance.LIMIT_EXCEEDED, True), Outcome.SOLVED, 1.0),
        (_ending(Provenance.LIMIT_EXCEEDED, False), Outcome.LIMIT_EXCEEDED, 0.0),
        (_ending(Provenance.TOOL_ERROR, stage=Stage.SETUP), Outcome.TASK_ERROR, None),
        (_ending(Provenance.LIMIT_EXCEEDED, stage=Stage.SETUP), Outcome.TASK_ERROR, None),
        (_ending(Provenance.DENIED), Outcome.TASK_ERROR, None),
    ],
)
def test_an_ending_has_one_outcome_and_at_most_one_reward(ending, outcome, reward):
    """Graded work has a reward, nothing else has."""
    assert (ending.outcome, ending.reward) == (outcome, reward)


@pytest.mark.parametrize("provenance", [each for each in Provenance if each.is_infrastructure])
@pytest.mark.parametrize("solved", [None, False, True])
def test_an_infrastructure_failure_never_has_a_reward(provenance, solved):
    """Not even when something was graded before it was noticed."""
    ending = _ending(provenance, solved)
    assert ending.reward is None
    assert ending.outcome.value == provenance.value


@pytest.mark.parametrize(
    ("error", "provenance"),
    [
        (LinkLostError("x"), Provenance.LINK_LOST),
        (SandboxLostError("x"), Provenance.SANDBOX_LOST),
        (UnavailableError("x"), Provenance.UNAVAILABLE),
        (BusyError("x"), Provenance.UNAVAILABLE),
        (TooSlowError("x"), Provenance.UNAVAILABLE),
        (ClosedError("x"), Provenance.INTERNAL_ERROR),
        (ZeroDivisionError("x"), Provenance.INTERNAL_ERROR),
    ],
)
def test_exceptions_of_the_runtime_are_nobody_elses_fault(error, provenance):
    """Each has a provenance that masks."""
    assert provenance_of(error) is provenance
    assert provenance.is_infrastructure


def test_a_line_holds_everything_a_trainer_and_a_debugger_ask_for():
    """The names are the contract of trajectories.jsonl."""
    record = _record(
        turns=2,
        finished_naturally=True,
        messages=[{"role": "user", "content": "p"}],
        calls=[CallTiming(tool="bash", provenance=Provenance.OK, latency_s=0.25)],
        tool_errors=[ToolError(turn=1, tool_name="x", arguments="{}", error="e", tool_result="r")],
        reasoning=[None, "hm"],
        usage=Usage(prompt_tokens=3, completion_tokens=4, total_tokens=7),
        isolation="ns",
        duration_s=1.5,
        verifier_output="fine",
    )
    line = record.to_line()
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "task": "a",
        "trajectory": "a:0",
        "group": "a",
        "index": 0,
        "outcome": "solved",
        "solved": True,
        "reward": 1.0,
        "masked": False,
        "provenance": "ok",
        "stage": "verifier",
        "error": "",
        "turns": 2,
        "finished_naturally": True,
        "tokens": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        "isolation": "ns",
        "duration_s": 1.5,
        "tool_calls": [{"tool": "bash", "provenance": "ok", "latency_s": 0.25}],
        "tool_errors": [{"turn": 1, "tool_name": "x", "arguments": "{}", "error": "e", "tool_result": "r"}],
        "reasoning": [None, "hm"],
        "verifier_output": "fine",
        "text_only": None,
        "training_rows": [],
        "drifts": [],
        "weight_versions": [],
        "branches": [],
        "messages": [{"role": "user", "content": "p"}],
    }


def test_a_masked_line_says_null_and_true():
    """Never 0: a trainer that forgets the mask fails loudly on the null."""
    document = json.loads(_record(_ending(Provenance.SANDBOX_LOST)).to_line())
    assert (document["reward"], document["masked"], document["solved"]) == (None, True, None)


@pytest.mark.parametrize("content", ["half a pair \ud83d", 10**40, "\u2028", "\n"])
def test_whatever_a_model_says_fits_on_one_line(content):
    """What orjson refuses is written by the standard library."""
    line = _record(messages=[{"role": "assistant", "content": content}]).to_line()
    assert json.loads(line)["messages"][0]["content"] == content
    assert line.count(b"\n") == 1


def test_a_plan_goes_group_by_group_with_distinct_ids():
    """Members of a group run at about the same time."""
    plan = list(plan_trajectories([_task("a"), _task("b")], group_size=2))
    assert [each.trajectory_id for each in plan] == ["a:0", "a:1", "b:0", "b:1"]
    assert [each.group for each in plan] == ["a", "a", "b", "b"]


def test_a_masked_member_leaves_its_group_usable():
    """It is missing from the comparison, and no more."""
    group = GroupTally()
    group.add(1.0)
    group.add(None)
    assert not group.is_mixed
    group.add(0.0)
    assert group.is_mixed
    assert (group.graded, group.solved, group.masked) == (2, 1, 1)


def test_a_summary_adds_up():
    """Finished = rewarded + masked; the mean is over the rewarded only."""
    tally = Tally([_task("a"), _task("b")], group_size=2)
    timing = CallTiming(tool="bash", provenance=Provenance.OK, latency_s=0.1)
    usage = Usage(prompt_tokens=10, completion_tokens=1)
    tally.add(_record(turns=3, calls=[timing, timing], usage=usage, isolation="ns"))
    tally.add(_record(UNSOLVED, index=1, turns=2, usage=usage, verifier_output="noise\nAssertionError\n"))
    tally.add(_record(_ending(Provenance.LINK_LOST), task_id="b"))
    summary = tally.summary(wall_s=2.0)
    assert (summary.planned, summary.finished, summary.solved, summary.rewarded) == (4, 3, 1, 2)
    assert summary.interrupted
    assert not summary.is_all_solved
    document = summary.to_mapping()
    assert document["mean_reward"] == 0.5
    assert document["trajectories"]["masked"] == 1
    assert document["outcomes"] == {"solved": 1, "unsolved": 1, "link_lost": 1}
    assert (document["solved_tasks"], document["mixed_groups"]) == (1, 1)
    assert (document["turns"], document["tool_calls"]) == (5, 2)
    assert document["tokens"] == {"prompt": 20, "completion": 2}
    assert document["tool_latency_s"]["p50"] == pytest.approx(0.1, rel=0.03)
    assert document["isolation"] == ["ns"]
    assert [each["error"] for each in document["failures"]] == ["AssertionError", ""]
    json.dumps(document)


def test_a_summary_of_nothing_says_nothing_it_does_not_know():
    """No mean of no rewards, no percentile of no calls, no tokens of no server."""
    document = Tally([_task()], group_size=1).summary(wall_s=0.0).to_mapping()
    assert (document["mean_reward"], document["tool_latency_s"], document["tokens"]) == (None, None, None)


def test_all_solved_means_all_that_were_planned():
    """Not all that were finished."""
    tally = Tally([_task()], group_size=2)
    tally.add(_record())
    assert not tally.summary(wall_s=1.0).is_all_solved
    tally.add(_record(index=1))
    summary = tally.summary(wall_s=1.0)
    assert summary.is_all_solved
    assert not summary.interrupted


def test_failures_are_spelled_out_up_to_a_bound(monkeypatch: pytest.MonkeyPatch):
    """A run of a million failures has a short summary."""
    monkeypatch.setattr(report, "MAX_FAILURES", 2)
    tally = Tally([_task()], group_size=5)
    for index in range(5):
        tally.add(_record(UNSOLVED, index=index, verifier_output="x" * 1000))
    failures = tally.summary(wall_s=1.0).failures
    assert len(failures) == 2
    assert len(failures[0].error) == report.MAX_ERROR_CHARS


def test_a_record_of_an_assignment_names_it():
    """Task, group and member."""
    record: TrajectoryRecord = Assignment(task=_task("t"), index=4).record(SOLVED)
    assert (record.task_id, record.group, record.index, record.trajectory_id) == ("t", "t", 4, "t:4")
