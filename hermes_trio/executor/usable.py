"""PURE. Arguments that fit their schema and still cannot be sent; the texts are for the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

_MANY_S: Final = 1 << 40


class UnusableError(Exception):
    """An argument that cannot be sent; the text is for the model."""


def seconds_argument(arguments: Mapping[str, Any], name: str) -> float | None:
    """A number of seconds, of any size; ``None`` for what is none."""
    match arguments.get(name):
        case bool():
            return None  # an int to Python, but no number of seconds
        case int() as whole:  # JSON has those that no float can hold
            return max(-_MANY_S, min(whole, _MANY_S))
        case float() as seconds if not math.isnan(seconds):
            return seconds
        case _:
            return None


def text_argument(
    arguments: Mapping[str, Any], name: str, *, default: str | None = None, nul: bool = True
) -> str:
    """A text that can be sent as UTF-8; ``nul=False``: one that can also be an argument of a program."""
    value = arguments.get(name, default)
    if not isinstance(value, str):
        raise UnusableError(f"Invalid arguments: '{name}' must be a string")
    if not nul and "\0" in value:
        raise UnusableError(f"Invalid arguments: '{name}' holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        text = f"Invalid arguments: '{name}' is not valid Unicode at character {exc.start}"
        raise UnusableError(text) from exc
    return value
