"""Parsers of tool calls in raw text, one file per dialect. PURE.

A parser never raises on what a model wrote and never invents a call: text that is no call stays text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from hermes_trio.errors import InvalidInputError
from hermes_trio.models.parsers.base import ParsedCall, ToolCallParser
from hermes_trio.models.parsers.hermes import HermesParser

__all__ = ["ParsedCall", "ToolCallParser", "available_parsers", "get_parser"]

_PARSERS: Mapping[str, Callable[[], ToolCallParser]] = MappingProxyType({"hermes": HermesParser})


def available_parsers() -> tuple[str, ...]:
    """The names that :func:`get_parser` knows."""
    return tuple(sorted(_PARSERS))


def get_parser(name: str) -> ToolCallParser:
    """A parser by name.

    Raises:
        InvalidInputError: there is none of this name.
    """
    if name not in _PARSERS:
        raise InvalidInputError(f"unknown parser '{name}'; there are: {', '.join(available_parsers())}")
    return _PARSERS[name]()
