"""The check of a call's arguments."""

from __future__ import annotations

from typing import Any

import pytest

from hermes_trio.tools.arguments import argument_problems
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
    assert _problems({"type": ["string", "null"]}, 1) == ("'a' must be string or null, not integer",)


def test_an_unknown_type_passes() -> None:
    """Keywords that are not understood never refuse a call."""
    assert _problems({"type": "date"}, "yesterday") == ()


def test_a_value_outside_the_enum_is_refused_with_the_choices() -> None:
    """The model learns what it may say."""
    assert _problems({"type": "string", "enum": ["x", "y"]}, "z") == ("'a' must be one of x, y",)
    assert _problems({"enum": ["x", "y"]}, "x") == ()


def test_items_and_members_are_checked_with_their_path() -> None:
    """Nested trouble is found and located."""
    items = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    problems = _problems({"type": "array", "items": items}, [{"id": "1"}, {"id": 2}, {}])
    assert problems == ("'a[1].id' must be string, not integer", "'a[2].id' is required")


def test_a_python_value_that_is_no_json_is_named_by_its_class() -> None:
    """Callers in Python can pass anything."""
    assert _problems({"type": "string"}, b"x") == ("'a' must be string, not bytes",)
