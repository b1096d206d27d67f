"""Reading a chat completion out of a body."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hermes_trio.models.completion import (
    MalformedCompletion,
    Usage,
    error_text,
    extract_reasoning,
    member,
    read_completion,
    text_of,
)

CALL = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": "{}"}}


def _body(message: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": "stop"}], **more}


def test_a_whole_completion_is_read() -> None:
    """Message, reason, usage, model and the raw body."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    body = _body({"role": "assistant", "content": "hi", "tool_calls": [CALL]}, usage=usage, model="m")
    completion = read_completion(body)
    assert completion.message.content == "hi"
    assert completion.message.tool_calls == (CALL,)
    assert completion.finish_reason == "stop"
    assert completion.usage == Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)
    assert completion.model == "m"
    assert completion.raw is body


def test_a_bare_message_is_enough() -> None:
    """What a server does not tell is absent, not invented."""
    completion = read_completion({"choices": [{"message": {"content": None}}]})
    assert completion.message.content == ""
    assert completion.message.role == "assistant"
    assert completion.message.tool_calls == ()
    assert completion.finish_reason is None
    assert completion.usage is None


def test_a_missing_total_is_the_sum() -> None:
    """Some servers count only the parts; nonsense counts as 0."""
    body = _body({}, usage={"prompt_tokens": 3, "completion_tokens": 2.5})
    assert read_completion(body).usage == Usage(prompt_tokens=3, completion_tokens=0, total_tokens=3)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ([], "the body is not a JSON object"),
        ({}, "there are no choices"),
        ({"choices": []}, "there are no choices"),
        ({"choices": {}}, "there are no choices"),
        ({"choices": [None]}, "the first choice is not a JSON object"),
        ({"choices": [{}]}, "its message is not a JSON object"),
        (_body({"tool_calls": {"a": 1}}), "tool_calls is not a list"),
        (_body({"tool_calls": ["x"]}), "a tool call is not a JSON object"),
        ({"error": {"message": "overloaded"}}, "it sent an error: overloaded"),
    ],
)
def test_what_is_no_completion_is_refused_with_the_reason(body: Any, problem: str) -> None:
    """Each missing part has its own words."""
    with pytest.raises(MalformedCompletion, match=problem):
        read_completion(body)


def test_usage_adds_up() -> None:
    """Turns of one trajectory are summed."""
    one = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
    assert one + one == Usage(prompt_tokens=2, completion_tokens=4, total_tokens=6)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": {"message": "a"}}, "a"),
        ({"error": "b"}, "b"),
        ({"message": "c"}, "c"),
        ({"detail": "d"}, "d"),
        ({"detail": [{"loc": []}]}, ""),
        ("e", ""),
        (None, ""),
    ],
)
def test_the_message_of_an_error_body_is_found(body: Any, text: str) -> None:
    """OpenAI, vLLM and FastAPI put it in different places."""
    assert error_text(body) == text


@pytest.mark.parametrize(
    ("message", "reasoning"),
    [
        ({"reasoning_content": "a", "reasoning": "b"}, "a"),
        ({"reasoning_content": "", "reasoning": "b"}, "b"),
        ({"reasoning": {"effort": "low"}}, None),
        ({"reasoning_details": [{"type": "x"}, {"text": ""}, {"text": "c"}]}, "c"),
        ({"reasoning_details": []}, None),
        ({"reasoning_details": 3}, None),
        ({}, None),
        (SimpleNamespace(reasoning_content="a"), "a"),
        (SimpleNamespace(reasoning_details=[SimpleNamespace(text="d")]), "d"),
    ],
)
def test_reasoning_is_found_in_each_providers_place(message: Any, reasoning: str | None) -> None:
    """Three formats, as objects or as JSON, in a fixed order."""
    assert extract_reasoning(message) == reasoning


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a", "a"),
        (None, ""),
        ([{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}], "ab"),
        (3, ""),
    ],
)
def test_the_text_of_a_content_is_a_string_or_its_parts(content: Any, text: str) -> None:
    """Content may be a list of parts."""
    assert text_of(content) == text


def test_a_member_is_found_in_mappings_and_objects() -> None:
    """SDKs give objects, servers JSON."""
    assert member({"a": 1}, "a") == member(SimpleNamespace(a=1), "a") == 1
    assert member({}, "a") is member(object(), "a") is None
