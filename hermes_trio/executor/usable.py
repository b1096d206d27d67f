"""PURE. Arguments that fit their schema and still cannot be sent; the texts are for the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class UnusableError(Exception):
    """An argument that cannot be sent; the text is for the model."""


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
