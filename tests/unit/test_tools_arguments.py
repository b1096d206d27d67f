"""The check of a call's arguments."""

from __future__ import annotations

from typing import Any

import pytest

from hermes_trio.errors import InvalidInputError
from hermes_trio.tools.arguments import argument_problems
from hermes_trio.tools.registry import ToolRegistry
from hermes_trio.tools.schema import ToolSchema


def _problems(parameter: dict[str, Any], value: Any) -> tuple[str, ...]:
    return argument_problems(ToolSchema("t", parameters={"a": parameter}), {"a": value})


def test_a_missing_required_argument_is_named() -> None:
    """The model learns which argument to add."""
    schema = ToolSchema("t", parameters={"a": {}, "b": {}}, required=["a", "b"])
    assert argument_problems(schema, {"b": 1}) == ("'a' is required",)


def test_an_argument_without_a_schema_passes() -> None:
    """What to do with extra arguments is the executor's policy."""
    assert argument_problems(ToolSchema("t"), {"other": 1}) == ()


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", "x", 1),
        ("integer", 3, 3.5),
        ("integer", 3.0, True),
        ("number", 3.5, "3.5"),
        ("number", 3, True),
        ("boolean", False, 0),
        ("array", [1], {"a": 1}),
        ("array", (1,), "abc"),
        ("object", {}, []),
        ("null", None, 0),
    ],
)
def test_each_json_type_is_told_from_the_others(kind: str, good: Any, bad: Any) -> None:
    """Python's bool is not a number here, and 3.0 is an integer."""
    assert _problems({"type": kind}, good) == ()
    (problem,) = _problems({"type": kind}, bad)
    assert problem.startswith(f"'a' must be {kind}, not ")


def test_one_of_several_types_is_enough() -> None:
    """A list of types is an alternative."""
    assert _problems({"type": ["string", "null"]}, None) == ()
    assert _problems({"type": ["string", "null"]}, 1) == ("'a' must be null or string, not integer",)


def test_an_unknown_keyword_passes() -> None:
    """What is not understood never refuses a call."""
    assert _problems({"type": "string", "x-since": "yesterday"}, "today") == ()


def test_a_value_outside_the_enum_is_refused_with_the_choices() -> None:
    """The model learns what it may say."""
    assert _problems({"type": "string", "enum": ["x", "y"]}, "z") == ("'a' must be one of x, y",)
    assert _problems({"enum": ["x", "y"]}, "x") == ()


def test_items_and_members_are_checked_with_their_path() -> None:
    """Nested trouble is found and located."""
    items = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    problems = _problems({"type": "array", "items": items}, [{"id": "1"}, {"id": 2}, {}])
    assert problems == ("'a[1].id' must be string, not integer", "'a[2].id' is required")


def test_a_python_value_that_is_no_json_is_told() -> None:
    """Callers in Python can pass anything."""
    assert _problems({"type": "string"}, b"x") == (
        "they hold what JSON does not have: Unsupported type: 'bytes'",
    )


def test_the_whole_of_json_schema_is_understood() -> None:
    """Tools of MCP servers bring all of it."""
    schema = ToolSchema.from_json_schema(
        "t",
        "",
        {
            "type": "object",
            "properties": {
                "a": {"$ref": "#/$defs/port"},
                "b": {"anyOf": [{"type": "null"}, {"minLength": 2}]},
            },
            "$defs": {"port": {"type": "integer", "minimum": 1, "maximum": 65535}},
            "additionalProperties": False,
        },
    )
    assert argument_problems(schema, {"a": 80, "b": None}) == ()
    problems = argument_problems(schema, {"a": 0, "b": "x", "c": 1})
    assert problems[0] == "'a': 0 is less than the minimum of 1"
    assert problems[1].startswith("'b': ")
    assert problems[2] == "'c' is not known"


def test_many_problems_are_told_a_few_at_a_time_and_in_short() -> None:
    """A model's mistake must not fill its own context."""
    schema = ToolSchema("t", parameters={str(index): {"maxLength": 1} for index in range(100)})
    problems = argument_problems(schema, {str(index): "x" * 100_000 for index in range(100)})
    assert len(problems) == 8
    assert max(map(len, problems)) <= 300


def test_a_pattern_that_goes_back_and_forth_for_ever_is_given_up() -> None:
    """With look-ahead, which the linear engine does not know; a server's schema must not hang us."""
    assert _problems({"pattern": "^(a+)+$"}, "a" * 50_000 + "b") != ()
    assert _problems({"pattern": "^(?=(a+)+$)(a+)+$"}, "a" * 5_000 + "b") != ()


@pytest.mark.parametrize(
    "parameter",
    [
        {"type": "date"},
        {"$ref": "https://example.org/schema.json"},
        {"$ref": "#/$defs/nope"},
        {"pattern": "("},
    ],
    ids=["unknown type", "another document", "nowhere", "no pattern"],
)
def test_what_is_no_schema_is_refused_when_it_is_registered(parameter: dict[str, Any]) -> None:
    """And nothing is fetched for it."""
    with pytest.raises(InvalidInputError, match="field 'parameters': tool 't': no JSON Schema"):
        ToolRegistry([ToolSchema("t", parameters={"a": parameter})])


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "array"}, "not the schema of an object"),
        ({"properties": []}, "not the schema of an object"),
        ({"properties": {"a": 3}}, "a property's schema is not an object"),
        ({"required": "a"}, "not a list of names"),
        ({"required": [1]}, "not a list of names"),
    ],
)
def test_a_schema_that_is_not_an_objects_is_refused(schema: dict[str, Any], says: str) -> None:
    """It comes from a server."""
    with pytest.raises(InvalidInputError, match=says):
        ToolSchema.from_json_schema("t", "", schema)


def test_schemas_of_true_and_false_and_names_without_a_property_are_kept() -> None:
    """JSON Schema has them, and they mean something."""
    schema = ToolSchema.from_json_schema("t", "", {"properties": {"a": True, "b": False}, "required": ["c"]})
    assert argument_problems(schema, {"a": 1, "c": 1}) == ()
    assert argument_problems(schema, {"a": 1}) == ("'c' is required",)
    assert argument_problems(schema, {"b": 1, "c": 1}) != ()
