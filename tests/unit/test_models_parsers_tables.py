"""Every dialect against its table in ``tests/tables/tool_calls``.

Cut at every character, and ending at every one, they are read in ``test_parser_conformance.py``.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hermes_trio.models.parsers import (
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
