"""The tiny model's template: what drifts, what does not, and what is a call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hermes_trio.testing.scripted import Reply
from hermes_trio.testing.tiny_model.template import (
    ASSISTANT,
    BOS,
    END,
    SYSTEM,
    TOOL,
    USER,
    read_reply,
    render,
    text_from,
)

TOOLS = [{"function": {"name": "bash", "parameters": {"required": ["command"]}}}]
ASKED = [{"role": "user", "content": "hi"}]
ANSWERED = [*ASKED, {"role": "tool", "content": "x"}]
CALL, OTHER = [64, 0xFF, 65], [67, 66]
"""Three in four first tokens are calls."""


def given_back(ids: list[int], **more: Any) -> dict[str, Any]:
    """An answer with a call, as it comes back in the next request."""
    function = {"name": "bash", "arguments": json.dumps({"command": text_from(ids)})}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": function}], **more}


def test_a_prompt_is_marks_and_bytes() -> None:
    """One mark for each role, one for each end."""
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "é"},
        {"role": "odd", "content": ""},
    ]
    tools = list(json.dumps([]).encode())
    said = [SYSTEM, ord("s"), END, USER, *"é".encode(), END, USER, END]
    assert render(messages, [], {}) == [BOS, *tools, END, *said, ASSISTANT]


@pytest.mark.parametrize("sampled", [CALL, [*CALL, END], []], ids=["cut off", "ended", "nothing"])
def test_a_remembered_answer_goes_on_from_what_was_sampled(sampled: list[int]) -> None:
    """Its end mark is there once, whether the model or the limit ended it."""
    before = render(ASKED, TOOLS, {})
    messages = [*ASKED, given_back(sampled), {"role": "tool", "content": "x"}]
    prompt = render(messages, TOOLS, {"c": sampled})
    assert prompt[: len(before) + len(sampled)] == [*before, *sampled]
    rest = prompt[len(before) + len(sampled) :]
    assert rest == ([] if sampled[-1:] == [END] else [END]) + [TOOL, ord("x"), END, ASSISTANT]


def test_an_answer_rendered_from_its_text_drifts() -> None:
    """What is no UTF-8 became U+FFFD on the way."""
    before = render(ASKED, TOOLS, {})
    prompt = render([*ASKED, given_back(CALL)], TOOLS, {})
    assert prompt[len(before) :] == [64, *"\ufffd".encode(), 65, END, ASSISTANT]
    assert render([*ASKED, {"role": "assistant", "content": "a"}], [], {})[-4:] == [
        ASSISTANT,
        ord("a"),
        END,
        ASSISTANT,
    ]


@pytest.mark.parametrize(
    ("ids", "messages", "tools", "calls"),
    [
        (CALL, ANSWERED, TOOLS, True),
        (OTHER, ANSWERED, TOOLS, False),
        (OTHER, ASKED, TOOLS, True),
        ([], ASKED, TOOLS, True),
        ([], ANSWERED, TOOLS, False),
        (CALL, ANSWERED, [], False),
    ],
)
def test_the_first_token_says_whether_an_answer_is_a_call(
    ids: list[int], messages: list[dict[str, Any]], tools: list[dict[str, Any]], calls: bool
) -> None:
    """And the first answer with tools is one in any case."""
    reply = read_reply(ids, messages, tools, finish_reason="length")
    if calls:
        assert reply.calls[0].name == "bash"
        assert json.loads(reply.calls[0].arguments) == {"command": text_from(ids)}
    else:
        assert reply == Reply(content=text_from(ids), finish_reason="length")


def test_a_tool_without_required_arguments_is_called_with_text() -> None:
    """Whatever it makes of it."""
    reply = read_reply(CALL, ASKED, [{"function": {"name": "t"}}], finish_reason="stop")
    assert json.loads(reply.calls[0].arguments) == {"text": text_from(CALL)}
