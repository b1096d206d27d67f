"""Checks a call's arguments against its schema before anything runs. PURE.

The subset of JSON Schema that tool parameters use: ``type`` (one or several), ``enum``, ``items``,
``properties`` and ``required``. An argument that the schema does not name passes: policy on those is the
executor's. Keywords outside the subset are ignored, as JSON Schema has it for unknown ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from hermes_trio.tools.schema import ToolSchema


def _is_integer(value: Any) -> bool:
    # JSON Schema counts 3.0 as an integer; a bool is one for Python only.
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return whole and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_TESTS: Mapping[str, Callable[[Any], bool]] = MappingProxyType(
    {
        "string": lambda value: isinstance(value, str),
        "integer": _is_integer,
        "number": _is_number,
        "boolean": lambda value: isinstance(value, bool),
        "array": lambda value: isinstance(value, (list, tuple)),
        "object": lambda value: isinstance(value, Mapping),
        "null": lambda value: value is None,
    }
)


def argument_problems(schema: ToolSchema, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """What is wrong with the arguments, one clear sentence part each; empty when they can be run."""
    return tuple(_object_problems(schema.arguments_schema(), arguments, ""))


def _object_problems(schema: Mapping[str, Any], value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"'{path}{name}' is required"
    for name, member in schema.get("properties", {}).items():
        if name in value:
            yield from _value_problems(member, value[name], f"{path}{name}")


def _value_problems(schema: Mapping[str, Any], value: Any, path: str) -> Iterator[str]:
    kinds = _kinds(schema)
    if kinds and not any(_matches(kind, value) for kind in kinds):
        yield f"'{path}' must be {' or '.join(kinds)}, not {_kind_of(value)}"
    elif "enum" in schema and value not in schema["enum"]:
        yield f"'{path}' must be one of {', '.join(map(str, schema['enum']))}"
    elif isinstance(value, Mapping):
        yield from _object_problems(schema, value, f"{path}.")
    elif isinstance(value, (list, tuple)) and "items" in schema:
        for index, item in enumerate(value):
            yield from _value_problems(schema["items"], item, f"{path}[{index}]")


def _kinds(schema: Mapping[str, Any]) -> tuple[str, ...]:
    kind = schema.get("type", ())
    return (kind,) if isinstance(kind, str) else tuple(kind)


def _matches(kind: str, value: Any) -> bool:
    test = _TESTS.get(kind)
    return test is None or test(value)


def _kind_of(value: Any) -> str:
    return next((kind for kind, test in _TESTS.items() if test(value)), type(value).__name__)
