"""Types of arguments that were written without quotes."""

from __future__ import annotations

from typing import Any

import pytest

from hermes_trio.models.parsers.schemas import ArgumentTypes

LOOP: dict[str, Any] = {"$ref": "#/$defs/Loop"}


def _read(schema: Any, text: str) -> Any:
    parameters = {
        "properties": {"x": schema},
        "$defs": {"Loop": LOOP, "Count": {"type": "integer"}, "Deep": {"$ref": "#/$defs/Count"}},
    }
    return ArgumentTypes([{"function": {"name": "f", "parameters": parameters}}]).read("f", "x", text)


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "string"}, " 1 ", " 1 "),
        ({"type": "string"}, '"1"', '"1"'),
        ({"type": "integer"}, " 1 ", 1),
        ({"type": "integer"}, "1.5", "1.5"),
        ({"type": "number"}, "1", 1),
        ({"type": "number"}, "1.5", 1.5),
        ({"type": "number"}, "true", "true"),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "False", False),
        ({"type": "boolean"}, "yes", "yes"),
        ({"type": "null"}, "None", None),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({"type": "object"}, "{'a': (1,)}", {"a": [1]}),
        ({"type": "object"}, "{a}", "{a}"),
        ({"type": "object"}, "['a']", "['a']"),
        ({"type": "array"}, "[1]", [1]),
        ({"type": ["string", "array"]}, '["C-c"]', ["C-c"]),
        ({"type": ["string", "array"]}, "['C-c']", "['C-c']"),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "null"]}, "1", "1"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "1", 1),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, "1", 1),
        ({"allOf": [{"type": "string"}]}, "1", "1"),
        ({"anyOf": [{"type": "string"}, {}]}, "1", 1),
        ({"enum": ["1", "2"]}, "1", "1"),
        ({"enum": [1, None, 1.5, True, [], {}]}, "1", 1),
        ({"const": "1"}, "1", "1"),
        ({"$ref": "#/$defs/Count"}, "1", 1),
        ({"$ref": "#/$defs/Deep"}, "a", "a"),
        ({"$ref": "#/$defs/Missing"}, "1", 1),
        ({"$ref": "other.json"}, "1", 1),
        ({"$ref": "#/$defs/Count/type/no"}, "1", 1),
        (LOOP, "1", 1),
        ({"type": "file"}, "1", 1),
        ({"type": 5}, "1", 1),
        ({"anyOf": []}, "1", 1),
        ({"anyOf": [LOOP] * 100}, "1", 1),
        ({}, "1", 1),
        (True, "1", 1),
        ({}, "a b", "a b"),
        ({}, '"a"', "a"),
        ({}, "None", None),
        ({}, "{'a': 1}", "{'a': 1}"),
    ],
)
def test_a_value_is_what_its_schema_allows(schema: Any, text: str, value: Any) -> None:
    """And a text where it does not fit; what no schema tells is JSON or a text."""
    read = _read(schema, text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "tool",
    [
        {},
        "f",
        {"function": None},
        {"function": {"name": "f"}},
        {"name": "f", "parameters": {"properties": []}},
    ],
)
def test_tools_that_say_nothing_are_as_good_as_none(tool: Any) -> None:
    """Whoever makes the request refuses them; reading does not."""
    assert ArgumentTypes([tool]).read("f", "x", "1") == 1
