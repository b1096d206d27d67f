"""The Hermes dialect of tool calls in text."""

from __future__ import annotations

from typing import Any

import pytest

from hermes_trio.errors import InvalidInputError
from hermes_trio.models.parsers import get_parser

CASES: list[tuple[str, str | None, list[tuple[str, dict[str, Any]]]]] = [
    ('<tool_call>{"name": "a", "arguments": {"x": 1}}</tool_call>', None, [("a", {"x": 1})]),
    ('<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>', None, [("a", {})]),
    ('<tool_call>{"name": "a"}</tool_call>', None, [("a", {})]),
    ('<tool_call>{"name": "a", "arguments": "{\\"x\\": 1}"}</tool_call>', None, [("a", {"x": 1})]),
    ('<tool_call>{"name": "a", "arguments": " {} "}</tool_call>', None, [("a", {})]),
    ('<tool_call>a{"x": {"y": "}"}}</tool_call>', None, [("a", {"x": {"y": "}"}})]),
    ('<tool_call>a {"x": 1}', None, [("a", {"x": 1})]),
    ('before <tool_call>{"name": "a"}</tool_call> after', "before\nafter", [("a", {})]),
    (
        '<tool_call>{"name": "a"}</tool_call>and<tool_call>{"name": "b"}</tool_call>',
        "and",
        [("a", {}), ("b", {})],
    ),
    (
        '<tool_call>{"name": "a", "arguments": {"c": "</tool_call>"}}</tool_call>',
        None,
        [("a", {"c": "</tool_call>"})],
    ),
    ('<tool_call>{"name": "a", "arguments": {"c": "1\n2"}}</tool_call>', None, [("a", {"c": "1\n2"})]),
    ('<tool_call>{"name": "a", "arguments": {"c": "ü✓"}}</tool_call>', None, [("a", {"c": "ü✓"})]),
    ('<think>hm</think><tool_call>{"name": "a"}</tool_call>', "<think>hm</think>", [("a", {})]),
    ('x <tool_call>oops</tool_call><tool_call>{"name": "a"}', "x <tool_call>oops</tool_call>", [("a", {})]),
]

NO_CALLS = [
    "",
    "plain",
    "<tool_call>",
    '<tool_call>{"name": "a"',
    '<tool_call>{"name": "a"} and more</tool_call>',
    '<tool_call>{"name": 1}</tool_call>',
    '<tool_call>{"name": ""}</tool_call>',
    '<tool_call>{"name": "a", "arguments": [1]}</tool_call>',
    '<tool_call>{"name": "a", "arguments": "{} x"}</tool_call>',
    '<tool_call>{"name": "a", "arguments": "x"}</tool_call>',
    "<tool_call>[1]</tool_call>",
    "<tool_call>" + "[" * 100_000,
    ' <think><tool_call>{"name": "a"}</tool_call></think> done',
    '<think><tool_call>{"name": "a"}</tool_call>',
]


@pytest.mark.parametrize(("text", "content", "calls"), CASES)
def test_calls_are_found(text: str, content: str | None, calls: list[tuple[str, dict[str, Any]]]) -> None:
    """Name, arguments, and what was said beside them."""
    said, found = get_parser("hermes").parse(text)
    assert said == content
    assert [(call.name, call.arguments) for call in found] == calls


@pytest.mark.parametrize("text", NO_CALLS, ids=range(len(NO_CALLS)))
def test_what_is_no_call_stays_text(text: str) -> None:
    """Nothing is invented, nothing is lost, nothing raises."""
    assert get_parser("hermes").parse(text) == (text, ())


def test_a_call_keeps_the_text_it_came_from() -> None:
    """Tags included, for those who train on it."""
    _, (call,) = get_parser("hermes").parse('x <tool_call>{"name": "a"}</tool_call> y')
    assert call.raw_text == '<tool_call>{"name": "a"}</tool_call>'


def test_an_unknown_parser_is_refused_with_the_known_ones() -> None:
    """The text helps to find the right name."""
    with pytest.raises(InvalidInputError, match=r"unknown parser 'x'; there are: .*, hermes, .*"):
        get_parser("x")
