"""A trace keeps one sequence per conversation, and says where a prompt left it."""

from __future__ import annotations

import pytest

from hermes_trio.models.tokens import CallTokens, Drift, TextOnlyError, TokenTrace, training_rows


def call(prompt: tuple[int, ...], completion: tuple[int, ...], **more: object) -> CallTokens:
    """A call whose logprobs are the negated ids."""
    logprobs = tuple(-float(each) for each in completion)
    return CallTokens(**{"prompt_ids": prompt, "completion_ids": completion, "logprobs": logprobs} | more)


def trace_of(*calls: CallTokens) -> TokenTrace:
    """A trace of these."""
    trace = TokenTrace()
    for each in calls:
        trace.append(each)
    return trace


def test_turns_of_one_conversation_are_one_row() -> None:
    """What the template and the tools added between them is masked out."""
    trace = trace_of(call((1, 2), (3,)), call((1, 2, 3, 4, 5), (6, 7)))
    (row,) = training_rows(trace)
    assert row.token_ids == (1, 2, 3, 4, 5, 6, 7)
    assert row.mask == (0, 0, 1, 0, 0, 1, 1)
    assert row.logprobs == (0.0, 0.0, -3.0, 0.0, 0.0, -6.0, -7.0)
    assert (row.calls, row.spans) == ((0, 1), ((2, 3), (5, 7)))
    assert repr(trace) == "<TokenTrace 2 calls, 7 ids>"


def test_a_prompt_that_drifted_begins_a_branch_and_is_reported() -> None:
    """What was sampled is trained on as it was sampled; what was read instead is prompt."""
    trace = trace_of(call((1, 2), (3, 4)), call((1, 2, 3, 9, 5), (6,)))
    first, second = training_rows(trace)
    assert (first.token_ids, first.mask) == ((1, 2, 3, 4), (0, 0, 1, 1))
    assert (second.token_ids, second.mask) == ((1, 2, 3, 9, 5, 6), (0, 0, 0, 0, 0, 1))
    assert trace.drifts == [Drift(call=1, branch=0, position=3, lost=1, expected=(4,), found=(9, 5))]
    assert repr(trace) == "<TokenTrace 2 calls, 10 ids, 1 drifts>"


@pytest.mark.parametrize(
    ("prompt", "position", "lost"),
    [((1, 2, 3), 3, 1), ((9,), 0, 4), ((), 0, 4), ((1, 2, 3, 5, 1, 1), 3, 1), ((1, 2), 2, 2)],
)
def test_a_drift_tells_where_and_how_much(prompt: tuple[int, ...], position: int, lost: int) -> None:
    """At the first id that differs, or at the end of the shorter one."""
    (drift,) = trace_of(call((1, 2, 3), (4,)), call(prompt, (6,))).drifts
    assert (drift.position, drift.lost) == (position, lost)


def test_a_conversation_that_returns_goes_on_in_its_own_branch() -> None:
    """Two conversations in turns, as with sub-agents: two rows, one drift; the longest fit wins."""
    trace = trace_of(call((1,), (2,)), call((5,), (6,)), call((1, 2, 3), (4,)), call((5, 6, 7), (8,)))
    assert [row.token_ids for row in training_rows(trace)] == [(1, 2, 3, 4), (5, 6, 7, 8)]
    assert [drift.call for drift in trace.drifts] == [1]


def test_the_longest_branch_that_fits_is_gone_on_from() -> None:
    """The same prompt asked twice gives two branches; the prompt that follows belongs to one of them."""
    trace = trace_of(call((1,), (2,)), call((1,), (2, 3)), call((1, 2, 3, 4), (5,)))
    assert [row.calls for row in training_rows(trace)] == [(0,), (1, 2)]


def test_calls_come_back_as_they_went_in() -> None:
    """Although each prompt is kept once."""
    calls = (
        call((1, 2), (3,), finish_reason="tool_calls", weight_version="a"),
        call((1, 2, 3, 4), (), logprobs=None),
        call((9,), (8,), finish_reason="stop"),
    )
    assert tuple(trace_of(*calls).calls()) == calls


def test_a_row_has_all_logprobs_or_none() -> None:
    """A trainer must not take a gap for certainty."""
    (row,) = training_rows(trace_of(call((1,), (2,), logprobs=None), call((1, 2), (3,))))
    assert (row.logprobs, row.mask) == (None, (0, 1, 1))


def test_one_call_without_ids_makes_the_trajectory_text_only() -> None:
    """Loudly: there are no rows at all, and the text says which call."""
    incomplete = CallTokens(prompt_ids=(1, 2, 3), problem="the server sent no token ids of what it sampled")
    trace = trace_of(call((1,), (2,)), incomplete, CallTokens())
    assert trace.text_only
    assert trace.problems == (
        "call 1: the server sent no token ids of what it sampled",
        "call 2: no token ids",
    )
    with pytest.raises(
        TextOnlyError, match=r"train on: call 1: .* sampled \(and 1 more calls\)\.$"
    ) as caught:
        training_rows(trace)
    assert caught.value.problems == trace.problems
    assert [each.prompt_ids for each in trace.calls()] == [(1,), None, None]
    assert repr(trace).endswith(", text only>")


def test_a_trace_of_one_call_without_ids_says_so_without_more() -> None:
    """No counting of one."""
    with pytest.raises(TextOnlyError, match=r"train on: call 0: no token ids\.$"):
        training_rows(trace_of(CallTokens()))


def test_an_empty_trace_has_no_rows() -> None:
    """No calls, no text to complain about."""
    trace = TokenTrace()
    assert (training_rows(trace), trace.text_only, len(trace)) == ((), False, 0)
