"""Strict readers of JSON values: each takes what it names and nothing that merely looks like it.

Plain cattrs coerces (``true`` becomes 1, ``"9"`` becomes 9, ``"abc"`` a tuple of three letters). A frame
comes from another program, perhaps another language: what it meant is not ours to guess.

A reader has the signature of a cattrs hook and raises ``ValueError`` with a text that completes
"<field>: ...". The text names the kind of the value and never quotes it: it may be huge, or a secret.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from typing import Any, cast

from hermes_trio.wire.ranges import MAX_INTEGER, Between, Finite, Written

Reader = Callable[[Any, Any], Any]

_KINDS: dict[type, str] = {
    bool: "a boolean",
    bytes: "bytes",
    dict: "an object",
    float: "a number with a fraction",
    int: "an integer",
    list: "a list",
    str: "text",
    type(None): "null",
}


def kind_of(value: object) -> str:
    """How a JSON value is called in a message to a person."""
    return _KINDS.get(type(value), type(value).__name__)


def _refuse(wanted: str, value: object) -> ValueError:
    return ValueError(f"must be {wanted}, not {kind_of(value)}")


def read_text(value: Any, _: Any) -> str:
    """Take a string."""
    if type(value) is str:
        return value
    raise _refuse("text", value)


def read_flag(value: Any, _: Any) -> bool:
    """Take a boolean; 0 and 1 are none."""
    if type(value) is bool:
        return value
    raise _refuse("true or false", value)


def read_bytes(value: Any, _: Any) -> bytes:
    """Take a payload, which the codec puts in place itself."""
    if type(value) is bytes:
        return value
    raise _refuse("bytes", value)


def read_object(value: Any, _: Any) -> dict[str, Any]:
    """Take an object as it is: the very same dict, unexamined."""
    if type(value) is dict:
        return value
    raise _refuse("an object", value)


def read_texts(value: Any, _: Any) -> dict[str, str]:
    """Take an object whose values are all strings."""
    for key, item in read_object(value, None).items():
        if type(item) is not str:
            raise ValueError(f"entry {key[:64]!r} must be text, not {kind_of(item)}")
    return dict(value)


def integer_reader(bounds: Between) -> Reader:
    """Make a reader of integers within bounds; booleans and 1.0 are none."""

    def read_integer(value: Any, _: Any) -> int:
        if type(value) is int:
            if bounds.low <= value <= bounds.high:
                return value
            raise ValueError(f"must be between {bounds.low} and {bounds.high}")
        raise _refuse("an integer", value)

    return read_integer


read_integer = integer_reader(Between(-MAX_INTEGER))


def read_number(value: Any, _: Any) -> float:
    """Take a finite number, written with or without a fraction."""
    if (type(value) is float and math.isfinite(value)) or type(value) is int:
        return float(value)
    raise _refuse("a finite number", value)


def seconds_reader(bounds: Finite) -> Reader:
    """Make a reader of spans of time."""

    def read_seconds(value: Any, _: Any) -> float:
        seconds = read_number(value, None)
        if seconds > 0 or (bounds.zero and seconds == 0):
            return seconds
        raise ValueError("must not be negative" if bounds.zero else "must be greater than 0")

    return read_seconds


def written_reader(written: Written) -> Reader:
    """Make a reader of texts that are written in one way."""

    def read_written(value: Any, _: Any) -> str:
        if written.fits(read_text(value, None)):
            return cast(str, value)
        raise ValueError(f"must be {written.like}")

    return read_written


def bounds_reader(bounds: Between | Finite | Written) -> Reader:
    """Make the reader of a value with its bounds."""
    match bounds:
        case Between():
            return integer_reader(bounds)
        case Finite():
            return seconds_reader(bounds)
        case _:
            return written_reader(bounds)


def read_choice(value: Any, choices: type[StrEnum]) -> StrEnum:
    """Take one word of a closed set."""
    if type(value) is str:
        member = choices._value2member_map_.get(value)
        if member is not None:
            return cast(StrEnum, member)
    raise ValueError("must be one of " + ", ".join(choices))


def sequence_reader(item: Reader) -> Reader:
    """Make a reader of lists; the result is a tuple."""

    def read_sequence(value: Any, _: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise _refuse("a list", value)
        items = []
        for index, entry in enumerate(value):
            try:
                items.append(item(entry, None))
            except ValueError as exc:
                raise ValueError(f"item {index} {exc}") from None
        return tuple(items)

    return read_sequence
