"""What every model server of the chat completions dialect does, as checks over HTTP.

The scripted model is held to the tiny one, which samples for real, by this suite; hold your own server to it
before you train with it. A check takes the base URL (``http://host:port/v1``) of a server that

* calls the first tool that it is offered at least once in a conversation without a tool's answer,
* tells token ids and logprobs when :data:`hermes_trio.models.tokens.ASK_FOR_TOKEN_IDS` asks for them,

and raises ``AssertionError`` when a promise is broken.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import trio
import trio.testing

from hermes_trio.models.chat import ChatClient
from hermes_trio.models.tokens import ASK_FOR_TOKEN_IDS, read_tokens

ModelCheck = Callable[[str], Awaitable[None]]

ASKED_AT_ONCE = 16
TURNS = 4

_TOOL = {
    "type": "function",
    "function": {
        "name": "note",
        "description": "Write something down.",
        "parameters": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
        },
    },
}
_REASONS = {"stop", "length", "tool_calls"}


def _request(text: str = "go", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 8, "seed": 7, **more}


async def _post(url: str, body: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    async with httpx.AsyncClient(trust_env=False, timeout=None) as http:  # noqa: S113 - tests have limits
        return await http.post(f"{url}/chat/completions", content=content, headers=headers)


async def _completed(url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    response = await _post(url, body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def an_answer_is_whole(url: str) -> None:
    """One choice with a message of the assistant's, a reason for its end, and usage that adds up."""
    answer = await _completed(url, _request())
    assert answer["object"] == "chat.completion"
    (choice,) = answer["choices"]
    message = choice["message"]
    assert (choice["index"], message["role"]) == (0, "assistant")
    assert isinstance(message["content"], str) or message.get("tool_calls")
    assert choice["finish_reason"] in _REASONS
    usage = answer["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]
    assert usage["prompt_tokens"] > 0


async def calls_are_data(url: str) -> None:
    """With an id, the name of a tool that was offered, and arguments that are the text of a JSON object."""
    answer = await _completed(url, _request(tools=[_TOOL]))
    calls = answer["choices"][0]["message"]["tool_calls"]
    assert answer["choices"][0]["finish_reason"] in _REASONS
    assert calls
    for call in calls:
        assert call["id"]
        assert (call["type"], call["function"]["name"]) == ("function", "note")
        assert isinstance(json.loads(call["function"]["arguments"]), dict)


async def token_ids_are_told_when_asked_for(url: str) -> None:
    """As many as are counted, with a logprob each; and not told otherwise."""
    asked = read_tokens(await _completed(url, _request(tools=[_TOOL], **ASK_FOR_TOKEN_IDS)))
    assert asked.problem == ""
    assert asked.prompt_ids
    assert asked.completion_ids
    assert asked.logprobs is not None
    assert len(asked.logprobs) == len(asked.completion_ids)
    assert all(logprob <= 0 for logprob in asked.logprobs)
    assert read_tokens(await _completed(url, _request(tools=[_TOOL]))).problem


async def a_turn_goes_on_from_what_was_sampled(url: str) -> None:
    """An answer with calls that is given back as it came is read again in the very ids it was sampled in."""
    body = _request(tools=[_TOOL], **ASK_FOR_TOKEN_IDS)
    messages: list[dict[str, Any]] = body["messages"]
    read: tuple[int, ...] = ()
    await trio.lowlevel.checkpoint()
    for _ in range(TURNS):
        answer = await _completed(url, body)
        tokens, message = read_tokens(answer), answer["choices"][0]["message"]
        assert tokens.prompt_ids is not None
        assert tokens.completion_ids is not None
        assert tokens.prompt_ids[: len(read)] == read
        calls = message.get("tool_calls") or ()
        if not calls:
            break
        read = tokens.prompt_ids + tokens.completion_ids
        messages += [message, *({"role": "tool", "tool_call_id": c["id"], "content": "noted"} for c in calls)]
    assert read, "the server called nothing"


async def a_seed_repeats_an_answer(url: str) -> None:
    """The same request, the same tokens."""
    body = _request(tools=[_TOOL], **ASK_FOR_TOKEN_IDS)
    first, second = [read_tokens(await _completed(url, body)) for _ in range(2)]
    assert (first.completion_ids, first.logprobs) == (second.completion_ids, second.logprobs)


async def a_stream_adds_up_to_the_answer(url: str) -> None:
    """Text, calls and token ids are those of the answer in one piece; only the ids of calls may differ."""
    body = _request(tools=[_TOOL], **ASK_FOR_TOKEN_IDS)
    async with ChatClient(url) as client:
        options: dict[str, Any] = {
            "tools": body["tools"],
            "max_tokens": body["max_tokens"],
            "seed": body["seed"],
            "extra_body": ASK_FOR_TOKEN_IDS,
        }
        whole = await client.complete(body["messages"], **options)
        async with client.stream(body["messages"], **options) as stream:
            async for _ in stream:
                pass
        streamed = stream.completion
    assert streamed.message.content == whole.message.content
    assert [c["function"] for c in streamed.message.tool_calls] == [
        c["function"] for c in whole.message.tool_calls
    ]
    assert streamed.finish_reason == whole.finish_reason
    assert read_tokens(streamed) == read_tokens(whole)


async def a_bad_request_is_refused_with_a_reason(url: str) -> None:
    """A status of 400 and ``error.message``, and the server goes on."""
    bad: list[Any] = [b"{", b"[]", {"messages": []}, {"messages": ["no"]}, _request(tools="all")]
    for body in bad:
        response = await _post(url, body)
        assert response.status_code == 400, (body, response.text)
        assert response.json()["error"]["message"]
    await an_answer_is_whole(url)


async def many_requests_are_answered_each_with_its_own(url: str) -> None:
    """What is read is what that caller said: prompts differ, and so do their ids."""
    prompts: dict[str, Any] = {}

    async def ask(text: str) -> None:
        answer = await _completed(url, _request(text, tools=[_TOOL], **ASK_FOR_TOKEN_IDS))
        prompts[text] = read_tokens(answer).prompt_ids

    async with trio.open_nursery() as nursery:
        for number in range(ASKED_AT_ONCE):
            nursery.start_soon(ask, f"{number:04}")
    again = await _completed(url, _request("0003", tools=[_TOOL], **ASK_FOR_TOKEN_IDS))
    assert len(set(prompts.values())) == ASKED_AT_ONCE
    assert read_tokens(again).prompt_ids == prompts["0003"]


async def a_caller_that_leaves_harms_nobody(url: str) -> None:
    """Its request is given up; the next one is answered."""
    async with trio.open_nursery() as nursery:
        for _ in range(ASKED_AT_ONCE):
            nursery.start_soon(_post, url, _request())
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await an_answer_is_whole(url)


MODEL_CHECKS: tuple[ModelCheck, ...] = (
    an_answer_is_whole,
    calls_are_data,
    token_ids_are_told_when_asked_for,
    a_turn_goes_on_from_what_was_sampled,
    a_seed_repeats_an_answer,
    a_stream_adds_up_to_the_answer,
    a_bad_request_is_refused_with_a_reason,
    many_requests_are_answered_each_with_its_own,
    a_caller_that_leaves_harms_nobody,
)
"""All of them. Each leaves the server as it was."""
