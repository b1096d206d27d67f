"""PURE. JSON schemas of payload classes: types from annotations, words from docstrings."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

import attrs
from docstring_parser import parse

from hermes_trio.wire.ranges import MAX_INTEGER, Between, Finite

_PLAIN: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    Any: {},
}


def reference(kind: type) -> dict[str, Any]:
    """Where the schema of a class stands in an OpenAPI document."""
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def schema_of(kind: type) -> dict[str, Any]:
    """The schema of a payload class, or of an enum."""
    told = parse(kind.__doc__ or "")
    words = {"description": told.short_description} if told.short_description else {}
    if issubclass(kind, StrEnum):
        return {"type": "string", "enum": [each.value for each in kind], **words}
    hints = get_type_hints(kind, include_extras=True)
    fields = attrs.fields(cast(Any, kind))
    about = {each.arg_name: " ".join((each.description or "").split()) for each in told.params}
    required = [each.name for each in fields if each.default is attrs.NOTHING]
    return {
        "type": "object",
        **words,
        "properties": {each.name: _member(each, hints[each.name], about) for each in fields},
        **({"required": required} if required else {}),
    }


def _member(each: attrs.Attribute[Any], hint: Any, about: Mapping[str, str]) -> dict[str, Any]:
    schema = type_schema(hint) | dict(each.metadata.get("schema", {}))
    if "items" in each.metadata:
        schema["items"] = reference(each.metadata["items"])
    if each.default is not attrs.NOTHING and not isinstance(each.default, attrs.Factory):  # type: ignore[arg-type]
        schema["default"] = list(each.default) if isinstance(each.default, tuple) else each.default
    # A neighbour of $ref is allowed since OpenAPI 3.1.
    return {**schema, "description": about[each.name]} if about.get(each.name) else schema


def type_schema(hint: Any) -> dict[str, Any]:
    """The schema of an annotation."""
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return type_schema(arguments[0]) | _bounds(arguments[1])
    if origin in (Union, UnionType):
        return _union(arguments)
    if origin is tuple:
        return {"type": "array", "items": type_schema(arguments[0])}
    if origin is not None:  # a mapping
        values = type_schema(arguments[1])
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    return reference(hint)


def _union(arguments: tuple[Any, ...]) -> dict[str, Any]:
    schemas = [type_schema(each) for each in arguments if each is not NoneType]
    return {"anyOf": [*schemas, {"type": "null"}] if NoneType in arguments else schemas}


def _bounds(bounds: Between | Finite) -> dict[str, Any]:
    if isinstance(bounds, Between):
        return {"minimum": bounds.low, "maximum": min(bounds.high, MAX_INTEGER)}
    return {"minimum": 0} if bounds.zero else {"exclusiveMinimum": 0}


def classes_within(kind: type) -> set[type]:
    """A payload class and all that its schema refers to."""
    found = {kind}
    if attrs.has(kind):
        for each in attrs.fields(kind):
            hint = get_type_hints(kind, include_extras=True)[each.name]
            inner = _classes(hint) | ({each.metadata["items"]} if "items" in each.metadata else set())
            for one in inner:
                found |= classes_within(one)
    return found


def _classes(hint: Any) -> set[type]:
    arguments = typing.get_args(hint)
    if arguments:
        return set().union(*(_classes(each) for each in arguments))
    is_ours = isinstance(hint, type) and (attrs.has(hint) or issubclass(hint, StrEnum))
    return {hint} if is_ours and hint not in (Between, Finite) else set()
