"""Checks a call's arguments against its schema before anything runs. PURE.

The checking is jsonschema-rs's (:mod:`hermes_trio.tools.json_schema`); ours are the sentences, which a model
has to be able to act on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from jsonschema_rs import ValidationError, ValidationErrorKind

from hermes_trio.tools.json_types import json_type
from hermes_trio.tools.schema import ToolSchema

MAX_PROBLEMS = 8
"""Named at once: a model mends some and calls again."""

MAX_PROBLEM_CHARS = 300
"""The library's own sentences repeat the value, which may be a whole file."""


def argument_problems(schema: ToolSchema, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """What is wrong with the arguments, one clear sentence part each; empty when they can be run.

    Raises:
        InvalidInputError: the schema itself is none; registries refuse such tools.
    """
    try:
        errors = tuple(islice(schema.validator.iter_errors(dict(arguments)), MAX_PROBLEMS))
    except ValueError as error:
        return (f"they hold what JSON does not have: {error}",)
    return tuple(_sentence(error)[:MAX_PROBLEM_CHARS] for error in errors)


def _sentence(error: ValidationError) -> str:
    path = _path(error.instance_path)
    match error.kind:
        case ValidationErrorKind.Required(property=name):
            return f"'{f'{path}.{name}' if path else name}' is required"
        case ValidationErrorKind.Type(types=kinds):
            return f"'{path}' must be {' or '.join(kinds)}, not {json_type(error.instance)}"
        case ValidationErrorKind.Enum(options=options):
            return f"'{path}' must be one of {', '.join(map(str, options))}"
        case ValidationErrorKind.AdditionalProperties(unexpected=names):
            return f"{' and '.join(map(repr, names))} is not known{f' in {path!r}' if path else ''}"
        case _:
            return f"'{path}': {error.message}" if path else error.message


def _path(parts: Sequence[str | int]) -> str:
    named = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return named.removeprefix(".")
