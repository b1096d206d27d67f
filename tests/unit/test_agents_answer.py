"""One shape for what every server and SDK answers."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from hermes_trio.agents.answer import CallRequest, read_answer
from hermes_trio.models.completion import ChatCompletion, ChatMessage, Usage
from hermes_trio.models.parsers import get_parser

AS_DICT = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"a": 1}'}}
AS_OBJECT = SimpleNamespace(id="c1", function=SimpleNamespace(name="bash", arguments='{"a": 1}'))
FLAT_DICT = {"id": "c1", "name": "bash", "arguments": '{"a": 1}'}


def _response(message: Any) -> Any:
    return SimpleNamespace(choices=[SimpleNamespace(message=message, finish_reason="tool_calls")])


@pytest.mark.parametrize("call", [AS_DICT, AS_OBJECT, FLAT_DICT])
def test_tool_calls_are_read_from_dicts_and_objects(call: Any) -> None:
    """OpenAI's SDK gives objects, vLLM's translator dictionaries."""
    answer = read_answer(_response(SimpleNamespace(content=None, tool_calls=[call])), parser=None)
    assert answer is not None
    assert answer.calls == (CallRequest(name="bash", arguments='{"a": 1}', call_id="c1"),)
    assert answer.finish_reason == "tool_calls"
    assert answer.content == ""


def test_our_own_completion_is_read_with_its_usage() -> None:
    """No choices there: the message is a member of the completion."""
    usage = Usage(prompt_tokens=1, completion_tokens=1, total_tokens=2)
    message = ChatMessage(content="hi", tool_calls=(AS_DICT,), reasoning="why")
    answer = read_answer(ChatCompletion(message=message, usage=usage, finish_reason="stop"), parser=None)
    assert answer is not None
    assert (answer.content, answer.reasoning, answer.usage, answer.finish_reason) == (
        "hi",
        "why",
        usage,
        "stop",
    )
    assert len(answer.calls) == 1


def test_arguments_that_were_decoded_already_become_text_again() -> None:
    """Ollama and some gateways send an object; none at all means none."""
    calls = [{"name": "a", "arguments": {"x": 1}}, {"name": "b"}, {"function": {}}]
    answer = read_answer({"message": {"tool_calls": calls}}, parser=None)
    assert answer is not None
    assert [(call.name, call.arguments, call.call_id) for call in answer.calls] == [
        ("a", '{"x": 1}', ""),
        ("b", "{}", ""),
        ("", "{}", ""),
    ]


@pytest.mark.parametrize("response", [None, {}, {"choices": []}, {"choices": [{}]}, {"choices": [None]}])
def test_an_empty_response_has_no_answer(response: Any) -> None:
    """The loop ends on it."""
    assert read_answer(response, parser=get_parser("hermes")) is None


def test_calls_in_the_text_are_parsed_when_there_are_no_structured_ones() -> None:
    """Servers without a parser leave the tags in the content."""
    text = 'so: <tool_call>{"name": "bash", "arguments": {"command": "ls"}}</tool_call>'
    answer = read_answer({"message": {"content": text}}, parser=get_parser("hermes"))
    assert answer is not None
    assert answer.content == "so:"
    (call,) = answer.calls
    assert json.loads(call.arguments) == {"command": "ls"}
    assert call.raw_text.startswith("<tool_call>")


def test_a_text_that_is_nothing_but_calls_leaves_no_content() -> None:
    """Empty, not None: templates expect text."""
    answer = read_answer({"message": {"content": '<tool_call>{"name": "a"}'}}, parser=get_parser("hermes"))
    assert answer is not None
    assert answer.content == ""


def test_the_text_is_not_parsed_without_tools_or_beside_structured_calls() -> None:
    """Tags are then just text."""
    text = '<tool_call>{"name": "bash"}</tool_call>'
    without = read_answer({"message": {"content": text}}, parser=None)
    beside = read_answer({"message": {"content": text, "tool_calls": [AS_DICT]}}, parser=get_parser("hermes"))
    assert without is not None
    assert beside is not None
    assert (without.content, without.calls) == (text, ())
    assert (beside.content, len(beside.calls)) == (text, 1)
