"""OpenAI's chat completion shapes, from the server's side. PURE: the id and the time are arguments.

Source: OpenAI API reference, "Create chat completion".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from hermes_trio.models.completion import text_of
from hermes_trio.testing.scripted.reply import Messages, Reply, Tools
from hermes_trio.testing.scripted.tokens import ASKING, scripted_tokens, with_tokens

CHARS_PER_TOKEN = 4
"""A rough count, good enough for tables that add tokens up."""


class BadRequest(Exception):
    """The request cannot be answered; the text is for its sender."""


@frozen(kw_only=True)
class ScriptedRequest:
    """What a policy needs of a request."""

    messages: Messages
    tools: Tools = ()
    model: str = "scripted"
    seed: int | None = None
    asked_tokens: frozenset[str] = frozenset()
    """Which members that ask for token ids it has."""
    stream: bool = False
    stream_usage: bool = False


def read_request(data: bytes) -> ScriptedRequest:
    """Read the body of a request.

    Raises:
        BadRequest: it is no chat completions request, or one that this server does not do.
    """
    body = _decoded(data)
    messages, tools = body.get("messages"), body.get("tools") or []
    if not _is_list_of_objects(messages) or not messages:
        raise BadRequest("'messages' must be a list of message objects")
    if not _is_list_of_objects(tools):
        raise BadRequest("'tools' must be a list of tool objects")
    seed = body.get("seed")
    if not (seed is None or (isinstance(seed, int) and not isinstance(seed, bool))):
        raise BadRequest("'seed' must be a whole number")
    options = body.get("stream_options")
    return ScriptedRequest(
        messages=messages,
        tools=tools,
        model=str(body.get("model") or "scripted"),
        seed=seed,
        asked_tokens=frozenset(name for name in ASKING if body.get(name)),
        stream=bool(body.get("stream")),
        stream_usage=isinstance(options, dict) and bool(options.get("include_usage")),
    )


def _decoded(data: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body is not JSON") from error
    if not isinstance(body, dict):
        raise BadRequest("the body is not a JSON object")
    return body


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def completion_body(
    request: ScriptedRequest, reply: Reply, *, completion_id: str, created: int
) -> dict[str, Any]:
    """The whole answer."""
    message = _message(reply, completion_id)
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": reply.finish_reason or ("tool_calls" if reply.calls else "stop"),
    }
    body = {
        "id": f"chatcmpl-{completion_id}",
        "object": "chat.completion",
        "created": created,
        "model": request.model,
        "choices": [choice],
        "usage": _usage(request, message),
    }
    if not request.asked_tokens:
        return body
    return with_tokens(body, request.asked_tokens, scripted_tokens(request.messages, request.tools, message))


def _message(reply: Reply, completion_id: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.content}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{completion_id}_{index}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for index, call in enumerate(reply.calls)
        ]
    return message


def _usage(request: ScriptedRequest, message: Mapping[str, Any]) -> dict[str, int]:
    prompt = sum(_tokens(each) for each in request.messages)
    completion = _tokens(message)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _tokens(message: Mapping[str, Any]) -> int:
    chars = len(text_of(message.get("content")))
    for call in message.get("tool_calls") or ():
        chars += len(json.dumps(call.get("function")))
    return 1 + chars // CHARS_PER_TOKEN


def error_body(message: str, *, kind: str = "invalid_request_error") -> dict[str, Any]:
    """An error as OpenAI's servers write it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}
