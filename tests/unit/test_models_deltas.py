"""A stream put together is the answer that would have come whole."""

from __future__ import annotations

from typing import Any

import pytest

from hermes_trio.models.completion import ChatCompletion, MalformedCompletion, read_completion
from hermes_trio.models.deltas import ChatDelta, CompletionAssembler


def chunk(delta: Any = None, **choice: Any) -> dict[str, Any]:
    """A chunk with one choice."""
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta or {}, **choice}]}


def piece(index: int | None, **members: Any) -> dict[str, Any]:
    """A piece of a tool call."""
    call: dict[str, Any] = {} if index is None else {"index": index}
    if "id" in members:
        call["id"] = members.pop("id")
    return call | {"function": members}


def assembled(*chunks: Any) -> ChatCompletion:
    """What they add up to."""
    assembler = CompletionAssembler()
    for each in chunks:
        assembler.feed(each)
    return read_completion(assembler.body())


def test_text_reasoning_and_usage_add_up() -> None:
    """The last chunk often has no choice at all."""
    completion = assembled(
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "hm"}),
        chunk({"reasoning_content": "m", "content": "he"}),
        chunk({"content": "llo"}),
        chunk(finish_reason="stop"),
        {"id": "c", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
    )
    assert completion.message.content == "hello"
    assert completion.message.reasoning == "hmm"
    assert (completion.finish_reason, completion.model) == ("stop", "m")
    assert completion.usage is not None
    assert completion.usage.total_tokens == 7


def test_each_chunk_says_what_it_adds() -> None:
    """For those who show it as it comes."""
    assembler = CompletionAssembler()
    first = chunk({"reasoning": "r", "tool_calls": [piece(0, name="bash")]})
    assert assembler.feed(first) == ChatDelta(reasoning="r", tool_calls=(piece(0, name="bash"),), raw=first)
    last = chunk({"content": "c"}, finish_reason="length")
    assert assembler.feed(last) == ChatDelta(content="c", finish_reason="length", raw=last)
    assert assembler.feed({"choices": []}) == ChatDelta(raw={"choices": []})
    assert assembler.finish_reason == "length"


@pytest.mark.parametrize(
    "pieces",
    [
        [
            piece(0, id="a", name="bash", arguments=""),
            piece(0, arguments='{"x"'),
            piece(1, id="b", name="ls", arguments="{}"),
            piece(0, arguments=": 1}"),
        ],
        [
            piece(1, id="b", name="ls", arguments="{}"),
            piece(0, id="a", name="bash", arguments='{"x"'),
            piece(0, id="a", name="bash", arguments=": 1}"),
        ],
        [
            piece(None, id="a", name="bash", arguments='{"x": '),
            piece(None, arguments="1}"),
            piece(None, id="b", name="ls", arguments="{}"),
        ],
        [
            piece(0, id="a", name="ba"),
            piece(0, name="sh", arguments='{"x": 1}'),
            {"index": 1, "id": "b"},
            piece(1, name="ls", arguments="{}"),
        ],
    ],
    ids=["by index", "out of order, names repeated", "without index", "name in pieces"],
)
def test_tool_calls_are_put_together(pieces: list[dict[str, Any]]) -> None:
    """However a server cuts them."""
    calls = assembled(*(chunk({"tool_calls": [each]}) for each in pieces)).message.tool_calls
    assert [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls] == [
        ("a", "bash", '{"x": 1}'),
        ("b", "ls", "{}"),
    ]


def test_token_ids_and_logprobs_add_up() -> None:
    """vLLM: the prompt's once, those that were sampled chunk by chunk."""
    completion = assembled(
        chunk({"content": "a"}, token_ids=[7], logprobs={"content": [{"logprob": -1.0}]})
        | {"prompt_token_ids": [1, 2]},
        chunk(
            {"content": "b"}, token_ids=[8, 9], logprobs={"content": [{"logprob": -2.0}, {"logprob": -3.0}]}
        ),
        chunk(finish_reason="stop", token_ids=None, logprobs=None),
    )
    tokens = completion.tokens
    assert tokens is not None
    assert (tokens.prompt_ids, tokens.completion_ids, tokens.problem) == ((1, 2), (7, 8, 9), "")
    assert tokens.logprobs == (-1.0, -2.0, -3.0)


def test_ids_at_the_end_of_a_stream_are_found() -> None:
    """SGLang sends them once, beside an empty list of choices; other servers in the choice."""
    whole = {
        "choices": [],
        "sglext": {"input_ids": [1], "output_ids": [[7]]},
        "metadata": {"weight_version": "w"},
    }
    tokens = assembled(chunk({"content": "a"}), whole).tokens
    assert tokens is not None
    assert (tokens.prompt_ids, tokens.completion_ids, tokens.weight_version) == ((1,), (7,), "w")
    tokens = assembled(
        chunk(prompt_token_ids=[1], response_token_ids=[7], meta_info={"weight_version": 2})
    ).tokens
    assert tokens is not None
    assert (tokens.prompt_ids, tokens.completion_ids, tokens.weight_version) == ((1,), (7,), "2")


def test_ids_that_got_lost_on_the_way_are_missed() -> None:
    """A server that leaves out the ids of tool calls while it streams counts them all the same."""
    usage = {"choices": [], "usage": {"completion_tokens": 3}}
    tokens = assembled(
        chunk(token_ids=[7], finish_reason="tool_calls") | {"prompt_token_ids": [1]}, usage
    ).tokens
    assert tokens is not None
    assert tokens.problem == "the server sampled 3 tokens and sent the ids of 1"


def test_reasoning_details_add_up() -> None:
    """OpenRouter's shape."""
    completion = assembled(chunk({"reasoning_details": [{"text": "why"}]}), chunk({"content": "x"}))
    assert completion.message.reasoning == "why"


def test_other_choices_are_left_out() -> None:
    """The first is what an agent goes on with."""
    other = {"choices": [{"index": 1, "delta": {"content": "no"}}, {"index": 0, "delta": {"content": "yes"}}]}
    assert assembled(other).message.content == "yes"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "a chunk is not a JSON object"),
        ({"error": {"message": "too long"}}, "it sent an error: too long"),
        ({"error": "bad"}, "it sent an error: bad"),
    ],
)
def test_what_is_no_chunk_is_refused(body: Any, says: str) -> None:
    """An error in a stream has no status to carry it."""
    with pytest.raises(MalformedCompletion, match=says):
        CompletionAssembler().feed(body)


@pytest.mark.parametrize(
    "choice",
    [{"delta": None}, {"delta": []}, {"delta": {"tool_calls": ["x", {"index": 0}], "content": 5}}, "x", None],
)
def test_rubbish_in_a_choice_adds_nothing_and_raises_nothing(choice: Any) -> None:
    """What is not text, a list or an object where it should be one is not there."""
    assembler = CompletionAssembler()
    assert assembler.feed({"choices": [choice], "usage": None}).content == ""
    assert assembler.has_choice == isinstance(choice, dict)
    assert read_completion(assembler.body()).message.content == ""
