"""The nodes of Atropos's ManagedServer, as data and as its own objects."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hermes_trio.models.tokens import CallTokens, TokenTrace, calls_of_state, training_rows

NODE = {
    "full_text": "abcd",
    "tokens": [1, 2, 7, 8],
    "masked_tokens": [-100, -100, 7, 8],
    "logprobs": [1.0, 1.0, -0.5, -0.25],
    "metadata": {"finish_reason": "stop"},
}
CALL = CallTokens(prompt_ids=(1, 2), completion_ids=(7, 8), logprobs=(-0.5, -0.25), finish_reason="stop")


@pytest.mark.parametrize(
    "state",
    [
        {"nodes": [NODE]},
        {"nodes": [SimpleNamespace(**NODE)]},
        {"sequences": {"abcd": NODE}, "tree": {"abcd": NODE}},
    ],
    ids=["nodes", "objects", "tree"],
)
def test_a_node_is_a_call(state: Any) -> None:
    """In the mode with a list, and in that with a tree."""
    assert calls_of_state(state) == (CALL,)


def test_each_sampled_stretch_of_a_node_is_a_call_of_one_branch() -> None:
    """Nodes that keep what earlier turns sampled give one row with all of it."""
    node = NODE | {"masked_tokens": [-100, 2, -100, 8], "logprobs": [1.0, -1.0, 1.0, -2.0]}
    calls = calls_of_state({"nodes": [node]})
    assert [(call.prompt_ids, call.completion_ids) for call in calls] == [((1,), (2,)), ((1, 2, 7), (8,))]
    assert [call.finish_reason for call in calls] == [None, "stop"]
    trace = TokenTrace()
    for call in calls:
        trace.append(call)
    (row,) = training_rows(trace)
    assert (row.token_ids, row.mask) == ((1, 2, 7, 8), (0, 1, 0, 1))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"metadata": {"dummy_tokens": True}}, "the node's tokens are placeholders"),
        ({"tokens": None}, "tokens is not a list of token ids"),
        ({"masked_tokens": [-100]}, "masked_tokens does not go with tokens"),
        ({"masked_tokens": [-100, -100, 7, 9]}, "masked_tokens has other ids than tokens"),
    ],
)
def test_a_node_that_cannot_be_believed_is_a_call_without_ids(change: dict[str, Any], problem: str) -> None:
    """Its placeholders above all."""
    (call,) = calls_of_state({"nodes": [NODE | change]})
    assert (call.prompt_ids, call.completion_ids, call.problem) == (None, None, problem)


@pytest.mark.parametrize("logprobs", [None, [1.0], [1.0, 1.0, -0.5, 1.0]], ids=["none", "fewer", "padded"])
def test_logprobs_that_were_filled_up_are_not_kept(logprobs: Any) -> None:
    """1.0 on a sampled token is a gap that was filled."""
    (call,) = calls_of_state({"nodes": [NODE | {"logprobs": logprobs}]})
    assert (call.completion_ids, call.logprobs) == ((7, 8), None)


@pytest.mark.parametrize(
    "state", [None, {}, {"nodes": None}, {"nodes": [NODE | {"masked_tokens": [-100] * 4}]}]
)
def test_a_state_without_anything_sampled_has_no_calls(state: Any) -> None:
    """And raises nothing."""
    assert calls_of_state(state) == ()
