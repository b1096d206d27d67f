"""The tiny model's vocabulary, its chat template, and how its answers are read. PURE.

A token is a byte, or one of a few marks. The template renders an answer that was given back from its *text*,
as the servers of large models do. With ``remembered`` answers, known by the ids of their tool calls, it puts
in the very tokens that were sampled.

An answer is a call of the first tool that is offered, with the text as the argument, if its first token says
so (three in four do), or if the conversation has no tool's answer yet: every trajectory has a call.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hermes_trio.models.completion import text_of
from hermes_trio.testing.scripted.reply import Messages, Reply, ScriptedCall, Tools

BOS, SYSTEM, USER, ASSISTANT, TOOL, END = range(256, 262)
VOCABULARY = 262

_ROLES: Mapping[str, int] = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT, "tool": TOOL}


def render(messages: Messages, tools: Tools, remembered: Mapping[str, Sequence[int]]) -> list[int]:
    """The ids of a prompt, up to where the model goes on."""
    ids = [BOS, *_bytes(json.dumps([tool.get("function") for tool in tools])), END]
    for message in messages:
        ids += [_ROLES.get(str(message.get("role")), USER), *_said(message, remembered)]
    return [*ids, ASSISTANT]


def _said(message: Mapping[str, Any], remembered: Mapping[str, Sequence[int]]) -> Iterator[int]:
    calls = message.get("tool_calls") or ()
    sampled = next((remembered[call["id"]] for call in calls if call["id"] in remembered), None)
    if sampled is None:
        yield from _bytes(text_of(message.get("content")) + "".join(str(_argument(call)) for call in calls))
    else:
        yield from sampled[:-1] if sampled and sampled[-1] == END else sampled
    yield END


def _argument(call: Mapping[str, Any]) -> Any:
    """The text that was made an argument."""
    return next(iter(json.loads(call["function"]["arguments"]).values()), "")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def text_from(ids: Sequence[int]) -> str:
    """What can be read of sampled ids: marks and broken UTF-8 are lost, and that is the point."""
    return bytes(token for token in ids if token < BOS).decode("utf-8", "replace")


def read_reply(ids: Sequence[int], messages: Messages, tools: Tools, *, finish_reason: str) -> Reply:
    """The answer in what was sampled."""
    text, answered = text_from(ids), any(message.get("role") == "tool" for message in messages)
    if not tools or (answered and (not ids or ids[0] % 4 == 3)):
        return Reply(content=text, finish_reason=finish_reason)
    function = tools[0]["function"]
    required = function.get("parameters", {}).get("required") or ["text"]
    return Reply(calls=(ScriptedCall.of(function["name"], **{required[0]: text}),))
