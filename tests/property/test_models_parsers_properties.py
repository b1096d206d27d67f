"""Parsers of tool calls meet any text."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hermes_trio.models.parsers import get_parser

PIECES = st.sampled_from(
    [
        "<tool_call>",
        "</tool_call>",
        "<think>",
        "</think>",
        '{"name": "a"',
        ', "arguments": {',
        "}",
        "}}",
        "\n",
    ]
)
HOSTILE = st.lists(PIECES | st.text(max_size=4), max_size=20).map("".join)


def _objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.text(), values, max_size=3)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | _objects(inner),
    max_leaves=5,
)


@given(HOSTILE)
def test_no_text_makes_the_parser_raise(text: str) -> None:
    """And where there is no call, the text comes back untouched."""
    content, calls = get_parser("hermes").parse(text)
    assert all(call.name and call.raw_text in text for call in calls)
    assert calls or content == text


@given(st.lists(st.tuples(st.text(min_size=1), _objects(JSON_VALUES)), min_size=1, max_size=3))
def test_what_a_model_writes_as_it_should_is_read_back(calls: list[tuple[str, dict[str, Any]]]) -> None:
    """Any names, any arguments, tags inside strings included."""
    text = " ".join(
        f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"
        for name, arguments in calls
    )
    content, found = get_parser("hermes").parse(text)
    assert content is None
    assert [(call.name, call.arguments) for call in found] == calls
