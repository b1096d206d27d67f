"""The scripted model speaks every dialect of token ids, streamed and not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hermes_trio.models.completion import ChatCompletion, read_completion
from hermes_trio.models.deltas import CompletionAssembler
from hermes_trio.models.sse import SseDecoder
from hermes_trio.models.tokens import ASK_FOR_TOKEN_IDS, TokenTrace, read_tokens, training_rows
from hermes_trio.testing.scripted import Reply, ScriptedCall
from hermes_trio.testing.scripted.tokens import streamed_body
from hermes_trio.testing.scripted.wire import completion_body, read_request

MESSAGES = [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "hü"}]}]
TOOLS = [{"type": "function", "function": {"name": "bash"}}]
REPLY = Reply(content="ok\ud83d", reasoning="hm", calls=(ScriptedCall.of("bash", command="ls"),))
DIALECTS = [
    {"return_token_ids": True, "logprobs": True},
    {"return_token_ids": True, "return_tokens_as_token_ids": True},
    {"return_input_ids_in_sglext": True, "return_output_ids_in_sglext": True, "logprobs": True},
]


def body_for(messages: list[dict[str, Any]], reply: Reply, asked: dict[str, Any]) -> dict[str, Any]:
    """The scripted answer to a request with these members."""
    request = read_request(json.dumps({"messages": messages, "tools": TOOLS, **asked}).encode())
    return completion_body(request, reply, completion_id="id", created=7)


def as_streamed(body: dict[str, Any]) -> ChatCompletion:
    """The same answer by way of events."""
    assembler = CompletionAssembler()
    *events, done = SseDecoder().feed(streamed_body(body, with_usage=True))
    assert done == "[DONE]"
    for event in events:
        assembler.feed(json.loads(event))
    return read_completion(assembler.body())


@pytest.mark.parametrize("asked", DIALECTS)
def test_what_was_asked_for_comes_streamed_and_whole(asked: dict[str, Any]) -> None:
    """Byte for byte; in all dialects the same."""
    body = body_for(MESSAGES, REPLY, asked)
    tokens = read_tokens(body)
    assert tokens.problem == ""
    assert bytes(tokens.completion_ids or ()).decode("utf-8", "surrogatepass").startswith("hm\x02ok")
    assert len(tokens.logprobs or ()) == len(tokens.completion_ids or ())
    streamed = as_streamed(body)
    assert streamed.tokens == tokens
    whole = read_completion(body)
    assert (streamed.message, streamed.usage, streamed.finish_reason) == (
        whole.message,
        whole.usage,
        "tool_calls",
    )


def test_nothing_is_told_that_was_not_asked_for() -> None:
    """As with a real server."""
    body = body_for(MESSAGES, REPLY, {"stream": True})
    assert read_tokens(body).problem == "the server sent no token ids of what it sampled"
    assert as_streamed(body).message == read_completion(body).message
    assert "usage" not in streamed_body(body, with_usage=False).decode()
    only = {"return_output_ids_in_sglext": True}
    assert (
        read_tokens(body_for(MESSAGES, REPLY, only)).problem == "the server sent no token ids of the prompt"
    )


@pytest.mark.parametrize("options", [None, {"include_usage": False}, {"include_usage": True}, "x"])
def test_usage_in_a_stream_is_asked_for(options: Any) -> None:
    """By OpenAI's option."""
    request = read_request(
        json.dumps({"messages": MESSAGES, "stream": True, "stream_options": options}).encode()
    )
    assert (request.stream, request.stream_usage) == (True, options == {"include_usage": True})


def test_a_conversation_given_back_unchanged_is_one_row() -> None:
    """And one that was changed is two, with a drift."""
    asked = dict(ASK_FOR_TOKEN_IDS)
    first = body_for(MESSAGES, REPLY, asked)
    answer = first["choices"][0]["message"]
    tool = {"role": "tool", "tool_call_id": answer["tool_calls"][0]["id"], "content": "f\n"}
    for said, drifts in ((answer, 0), (answer | {"content": "ok"}, 1)):
        trace = TokenTrace()
        trace.append(read_tokens(first))
        trace.append(read_tokens(body_for([*MESSAGES, said, tool], Reply(content="done"), asked)))
        assert len(trace.drifts) == drifts
        assert len(training_rows(trace)) == drifts + 1
