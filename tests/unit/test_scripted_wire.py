"""OpenAI's shapes from the server's side."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hermes_trio.models.completion import read_completion
from hermes_trio.testing.scripted import Reply, ScriptedCall
from hermes_trio.testing.scripted.wire import BadRequest, ScriptedRequest, completion_body, read_request

MESSAGES = [{"role": "user", "content": "four chars and more"}]


def _body(reply: Reply, messages: list[dict[str, Any]] = MESSAGES) -> dict[str, Any]:
    request = ScriptedRequest(messages=messages, model="m")
    return completion_body(request, reply, completion_id="id", created=7)


def test_a_text_reply_is_a_whole_completion() -> None:
    """Every member that clients look at."""
    body = _body(Reply(content="hello", reasoning="why"))
    assert body["id"] == "chatcmpl-id"
    assert body["object"] == "chat.completion"
    assert (body["created"], body["model"]) == (7, "m")
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"] == {"role": "assistant", "content": "hello", "reasoning_content": "why"}
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] > usage["completion_tokens"] > 0


def test_calls_have_ids_of_their_own_and_their_finish_reason() -> None:
    """Two calls in one turn."""
    body = _body(Reply(calls=(ScriptedCall.of("a", x=1), ScriptedCall("b", "{"))))
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    first, second = choice["message"]["tool_calls"]
    assert first == {
        "id": "call_id_0",
        "type": "function",
        "function": {"name": "a", "arguments": '{"x": 1}'},
    }
    assert second["id"] == "call_id_1"
    assert body["usage"]["completion_tokens"] > 1


def test_our_own_client_reads_what_is_written() -> None:
    """Both sides agree on the shape."""
    completion = read_completion(_body(Reply(calls=(ScriptedCall.of("a"),), finish_reason="length")))
    assert completion.finish_reason == "length"
    assert completion.message.tool_calls[0]["function"]["name"] == "a"


@pytest.mark.parametrize("seed", [0, 7, None])
def test_the_seed_of_a_request_is_read(seed: int | None) -> None:
    """Zero is one, null is none."""
    data = json.dumps({"messages": MESSAGES, "seed": seed}).encode()
    assert read_request(data).seed == seed


@pytest.mark.parametrize("seed", ["7", True, 1.5])
def test_a_seed_that_is_no_whole_number_is_refused(seed: object) -> None:
    """As a real server does; nothing is coerced."""
    with pytest.raises(BadRequest, match="'seed' must be a whole number"):
        read_request(json.dumps({"messages": MESSAGES, "seed": seed}).encode())


def test_a_request_is_read() -> None:
    """Model and tools are optional."""
    request = read_request(json.dumps({"messages": MESSAGES, "tools": None, "stream": False}).encode())
    assert request == ScriptedRequest(messages=MESSAGES, tools=[], model="scripted")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "'messages'"),
        (b'{"messages": []}', "'messages'"),
        (b'{"messages": ["x"]}', "'messages'"),
        (b'{"messages": [{}], "tools": ["x"]}', "'tools'"),
    ],
    ids=range(7),
)
def test_a_bad_request_is_refused_with_the_reason(data: bytes, problem: str) -> None:
    """As a real server would."""
    with pytest.raises(BadRequest, match=problem):
        read_request(data)
