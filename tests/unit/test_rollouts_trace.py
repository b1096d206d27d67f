"""What a trajectory leaves for a trainer: rows or a reason, and the conversations below it."""

from __future__ import annotations

import json

import pytest

from hermes_trio.agents.result import AgentResult, Branch, Ending
from hermes_trio.errors import Provenance
from hermes_trio.models.tokens import CallTokens, TokenTrace
from hermes_trio.rollouts.trace import BranchRecord, TokenRecord


def _trace(*calls):
    trace = TokenTrace()
    for prompt, completion in calls:
        trace.append(
            CallTokens(
                prompt_ids=prompt,
                completion_ids=completion,
                logprobs=tuple(-0.5 for _ in completion or ()),
                weight_version="w1",
                problem="" if completion else "the server told none",
            )
        )
    return trace


def test_rows_have_everything_that_a_trainer_reads():
    """Two turns of one branch, then one whose prompt drifted."""
    trace = _trace(((1, 2), (3,)), ((1, 2, 3, 4), (5, 6)), ((1, 9), (7,)))
    told = json.loads(json.dumps(TokenRecord.of(trace).to_mapping()))
    assert told["text_only"] is None
    assert told["training_rows"] == [
        {
            "token_ids": [1, 2, 3, 4, 5, 6],
            "mask": [0, 0, 1, 0, 1, 1],
            "logprobs": [0.0, 0.0, -0.5, 0.0, -0.5, -0.5],
            "calls": [0, 1],
            "spans": [[2, 3], [4, 6]],
        },
        {
            "token_ids": [1, 9, 7],
            "mask": [0, 0, 1],
            "logprobs": [0.0, 0.0, -0.5],
            "calls": [2],
            "spans": [[2, 3]],
        },
    ]
    assert [(drift["call"], drift["position"], drift["lost"]) for drift in told["drifts"]] == [(2, 1, 5)]
    assert told["weight_versions"] == ["w1"] * 3


def test_without_ids_there_is_a_reason_and_no_row():
    """Not even of the calls that have some: half a trajectory is none."""
    record = TokenRecord.of(_trace(((1,), (2,)), ((1, 2), None)))
    assert record.rows == ()
    assert record.to_mapping()["text_only"].endswith("call 1: the server told none.")


def test_a_trajectory_that_never_asked_has_neither():
    """It is not text only: there is no text either."""
    assert TokenRecord.of(TokenTrace()).to_mapping() == TokenRecord().to_mapping()


@pytest.mark.parametrize("cut_off", [False, True])
def test_a_branch_is_told_with_those_below_it(cut_off):
    """One that was cut off with its parent has its messages and no ending."""
    below = Branch(call_id="c2", tool_name="deeper", turn=1, messages=[])
    ended = AgentResult(
        messages=[], token_trace=_trace(((1,), (2,))), ending=Ending.TURN_LIMIT, branches=(below,)
    )
    said = [{"role": "user", "content": "do"}]
    branch = Branch(
        call_id="c1", tool_name="worker", turn=3, messages=said, result=None if cut_off else ended
    )
    told = BranchRecord.of(branch).to_mapping()
    assert (told["call_id"], told["tool"], told["turn"], told["messages"]) == ("c1", "worker", 3, said)
    assert (told["ending"], told["provenance"]) == (
        ("", "") if cut_off else ("turn_limit", Provenance.OK.value)
    )
    assert len(told["training_rows"]) == (not cut_off)
    assert [each["tool"] for each in told["branches"]] == ([] if cut_off else ["deeper"])
