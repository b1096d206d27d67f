"""All dialects of ours against the suite that ships for authors of others; and the suite against bad ones."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from hermes_trio.models.parsers import ParsedCall, ParsedText, TextDelta, available_parsers, get_parser
from hermes_trio.testing.parser_conformance import PARSER_CHECKS, Example, ParserUnderTest

TABLES = Path(__file__).parents[1] / "tables" / "tool_calls"


def _subject(dialect):
    table = tomllib.loads((TABLES / f"{dialect}.toml").read_text(encoding="utf-8"))
    examples = [
        Example(
            text=case["text"],
            calls=[(call[0], call[1]) for call in json.loads(case.get("calls", "[]"))],
            content=case.get("content"),
            is_sound=not case.get("problems"),
            in_thought=case.get("in_thought", False),
        )
        for case in table["case"]
    ]
    parser = get_parser(dialect, tools=json.loads(table.get("tools", "[]")))
    return ParserUnderTest(parser=parser, examples=examples)


@pytest.mark.parametrize("check", PARSER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("dialect", available_parsers())
def test_every_dialect_conforms(dialect, check):
    """On every case of its table: whole, and cut at every character."""
    check(_subject(dialect))


class _Careless:
    """Finds ``!name!`` by what has arrived so far, keeps state between texts, and never ends."""

    def __init__(self):
        self.held = ""

    def parse_detailed(self, text, *, in_thought=False):
        return ParsedText(
            content=text.replace("!", "") or None,
            calls=tuple(ParsedCall(name) for name in text.split("!")[1:]),
            problems=(),
        )

    def session(self, *, in_thought=False):
        return self

    def feed(self, text):
        self.held += text
        for _ in self.held:
            len(text)
        return (TextDelta(text), *(ParsedCall(name) for name in text.split("!")[1:]))

    def finish(self):
        return (TextDelta(self.held),)


@pytest.mark.parametrize("check", [check for check in PARSER_CHECKS if "json" not in check.__name__])
def test_the_suite_notices_what_is_wrong(check):
    """A check that nothing fails is none."""
    examples = [Example(text="a!b!c", calls=[("b", {})]), Example(text="!x", calls=[("x", {})])]
    with pytest.raises((AssertionError, TypeError)):
        check(ParserUnderTest(parser=_Careless(), examples=examples))
