"""Whatever conversations are traced: nothing sampled is lost, doubled, or masked wrongly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hermes_trio.models.tokens import CallTokens, TokenTrace, read_tokens, training_rows

# Few ids, so that beginnings agree by chance too.
IDS = st.lists(st.integers(0, 3), max_size=6).map(tuple)


@st.composite
def conversations(draw: st.DrawFn) -> list[CallTokens]:
    """Calls that mostly go on from what was sampled, and sometimes from something else."""
    calls: list[CallTokens] = []
    past: tuple[int, ...] = draw(IDS)
    for _ in range(draw(st.integers(0, 6))):
        match draw(st.sampled_from(["goes on", "goes on", "drifts", "starts over", "asks again"])):
            case "goes on":
                past += draw(IDS)
            case "drifts":
                cut = draw(st.integers(0, len(past)))
                past = past[:cut] + draw(IDS)
            case "starts over":
                past = draw(IDS)
            case _:
                past = calls[-1].prompt_ids or () if calls else past
        completion = draw(IDS)
        logprobs = tuple(-float(len(calls) + 1) for _ in completion)
        calls.append(CallTokens(prompt_ids=past, completion_ids=completion, logprobs=logprobs))
        past += completion
    return calls


def _traced(calls: list[CallTokens]) -> TokenTrace:
    trace = TokenTrace()
    for call in calls:
        trace.append(call)
    return trace


@given(conversations())
def test_masks_cover_exactly_what_was_sampled(calls: list[CallTokens]) -> None:
    """Each completion lies under the mask once, behind exactly its own prompt, with its own logprobs."""
    covered: set[int] = set()
    for row in training_rows(_traced(calls)):
        under_mask = []
        for number, (start, end) in zip(row.calls, row.spans, strict=True):
            call = calls[number]
            assert number not in covered
            covered.add(number)
            assert row.token_ids[:start] == call.prompt_ids
            assert row.token_ids[start:end] == call.completion_ids
            assert row.logprobs is not None
            assert row.logprobs[start:end] == call.logprobs
            under_mask += range(start, end)
        assert [at for at, bit in enumerate(row.mask) if bit] == under_mask
        assert len(row.token_ids) == len(row.mask) == len(row.logprobs or ())
    assert covered == set(range(len(calls)))


@given(conversations())
def test_calls_survive_the_trace(calls: list[CallTokens]) -> None:
    """What is kept once is given back whole."""
    assert list(_traced(calls).calls()) == calls


@given(conversations())
def test_there_is_a_drift_for_each_branch_but_the_first_and_it_is_real(calls: list[CallTokens]) -> None:
    """Its position is where the prompt and everything sampled before stop to agree."""
    trace = _traced(calls)
    assert len(trace.drifts) == max(0, len(trace.branches) - 1)
    for drift in trace.drifts:
        prompt = calls[drift.call].prompt_ids or ()
        assert drift.lost > 0
        assert prompt[drift.position : drift.position + 8] == drift.found
        assert drift.expected[:1] != drift.found[:1]


KEYS = st.sampled_from(
    [
        *(
            "choices",
            "token_ids",
            "response_token_ids",
            "prompt_token_ids",
            "sglext",
            "input_ids",
            "output_ids",
        ),
        *("meta_info", "output_token_logprobs", "input_token_logprobs", "prompt_tokens", "completion_tokens"),
        *("logprobs", "content", "token", "logprob", "usage", "finish_reason", "type", "weight_version"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_any_answer_is_read_or_has_a_problem(body: object) -> None:
    """Ids that are ids, or words; never an exception, never both."""
    tokens = read_tokens(body)
    assert bool(tokens.problem) == (tokens.prompt_ids is None or tokens.completion_ids is None)
    for ids in (tokens.prompt_ids or (), tokens.completion_ids or ()):
        assert all(type(each) is int and each >= 0 for each in ids)
    if tokens.logprobs is not None:
        assert len(tokens.logprobs) == len(tokens.completion_ids or ())
