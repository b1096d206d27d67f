"""Every dialect against its table in ``tests/tables/tool_calls``: whole, and cut at every character."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from hermes_trio.models.parsers import (
    Event,
    ParsedCall,
    ParsedText,
    Problem,
    TextDelta,
    ToolCallParser,
    available_parsers,
    get_parser,
)

TABLES = {
    path.stem: tomllib.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parents[1] / "tables" / "tool_calls").glob("*.toml"))
}
CASES = [(dialect, case) for dialect, table in TABLES.items() for case in table["case"]]
IN_EVERY_TABLE = {
    "the format",
    "several",
    "text around",
    "nested",
    "quotes and line breaks",
    "unicode",
    "unclosed",
    "malformed",
    "fence",
    "thought",
}


def _id(value: Any) -> str:
    return value if isinstance(value, str) else value["name"].replace(" ", "_")


def _parser(dialect: str) -> ToolCallParser:
    return get_parser(dialect, tools=json.loads(TABLES[dialect].get("tools", "[]")))


def _streamed(parser: ToolCallParser, pieces: Iterable[str], *, in_thought: bool) -> ParsedText:
    session = parser.session(in_thought=in_thought)
    events: list[Event] = [event for piece in pieces for event in session.feed(piece)]
    events += session.finish()
    calls = tuple(event for event in events if isinstance(event, ParsedCall))
    return ParsedText(
        content="".join(event.text for event in events if isinstance(event, TextDelta)) or None,
        calls=calls,
        problems=tuple(event for event in events if isinstance(event, Problem)),
    )


def test_every_dialect_has_a_table_with_a_source() -> None:
    """At least twelve cases each, those that the formats leave open among them."""
    assert tuple(TABLES) == available_parsers()
    for dialect, table in TABLES.items():
        names = [case["name"] for case in table["case"]]
        assert table["source"], dialect
        assert len(names) >= 12, dialect
        assert len(set(names)) == len(names), dialect
        assert not IN_EVERY_TABLE - set(names), dialect


@pytest.mark.parametrize(("dialect", "case"), CASES, ids=_id)
def test_a_text_is_read_as_the_table_says(dialect: str, case: dict[str, Any]) -> None:
    """Content, calls, and what was wrong."""
    parsed = _parser(dialect).parse_detailed(case["text"], in_thought=case.get("in_thought", False))
    wanted = [(*call, "")[:3] for call in json.loads(case.get("calls", "[]"))]
    assert [(call.name, call.arguments, call.call_id) for call in parsed.calls] == wanted
    assert parsed.content == case.get("content")
    reasons = [problem.reason for problem in parsed.problems]
    assert len(reasons) == len(case.get("problems", []))
    for wanted_reason, reason in zip(case.get("problems", []), reasons, strict=True):
        assert wanted_reason in reason


@pytest.mark.parametrize(("dialect", "case"), CASES, ids=_id)
def test_a_text_cut_anywhere_is_read_like_the_whole(dialect: str, case: dict[str, Any]) -> None:
    """In two pieces at every character, and in as many pieces as there are characters."""
    parser, text, in_thought = _parser(dialect), case["text"], case.get("in_thought", False)
    whole = parser.parse_detailed(text, in_thought=in_thought)
    for cut in range(len(text) + 1):
        assert _streamed(parser, (text[:cut], text[cut:]), in_thought=in_thought) == whole, cut
    assert _streamed(parser, text, in_thought=in_thought) == whole


@pytest.mark.parametrize(("dialect", "case"), CASES, ids=_id)
def test_a_text_that_ends_anywhere_gives_no_call_that_the_whole_does_not_have(
    dialect: str, case: dict[str, Any]
) -> None:
    """Generation may end at any character: what is missing must not change a call, nor make one of a value.

    A text that is malformed further on is left out: up to there it is a call whose closing marker is missing.
    """
    if case.get("problems"):
        return
    parser, text, in_thought = _parser(dialect), case["text"], case.get("in_thought", False)
    whole = [(call.name, call.arguments) for call in parser.parse(text, in_thought=in_thought)[1]]
    for end in range(len(text)):
        _, calls = parser.parse(text[:end], in_thought=in_thought)
        found = [(call.name, call.arguments) for call in calls]
        assert found == whole[: len(found)], end


@pytest.mark.parametrize(("dialect", "case"), CASES, ids=_id)
def test_the_raw_texts_of_calls_and_the_content_are_parts_of_the_text(
    dialect: str, case: dict[str, Any]
) -> None:
    """In order, and what is left between them is white space and what closes."""
    content, calls = _parser(dialect).parse(case["text"], in_thought=case.get("in_thought", False))
    at = 0
    for call in calls:
        at = case["text"].index(call.raw_text, at) + len(call.raw_text)
    for line in (content or "").split("\n"):
        assert line.strip() in case["text"]
