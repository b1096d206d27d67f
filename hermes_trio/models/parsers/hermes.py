"""The Hermes dialect: ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``. PURE.

Also read: ``<tool_call>name{"argument": ...}</tool_call>``, arguments that are JSON within a string, a
closing tag that is missing because generation ended, and a closing tag that is part of an argument: the
JSON decides where a call ends, not the tag. Text after ``<think>`` and before ``</think>`` holds no calls:
what a model considers is not what it does.

Source: NousResearch Hermes-Function-Calling, README (the prompt format).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from hermes_trio.models.parsers.base import ParsedCall

_OPEN = re.compile(r"<tool_call>\s*")
_CLOSE = re.compile(r"\s*(?:</tool_call>|\Z)")
_NAME = re.compile(r"[A-Za-z_][\w.-]*\s*(?={)")
_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"
_DECODER = json.JSONDecoder(strict=False)
"""Not strict: models put newlines into strings without escaping them, and what they mean is clear."""


@frozen
class _Found:
    start: int
    end: int
    call: ParsedCall


class HermesParser:
    """See the module."""

    def parse(self, text: str) -> tuple[str | None, tuple[ParsedCall, ...]]:
        """See :class:`hermes_trio.models.parsers.base.ToolCallParser`."""
        found = tuple(_scan(text, _after_thinking(text)))
        if not found:
            return text, ()
        return _beside(text, found) or None, tuple(one.call for one in found)


def _after_thinking(text: str) -> int:
    """Where the answer begins: behind a thought that opens the text, at its end if it never closes."""
    opened = len(text) - len(text.lstrip())
    if not text.startswith(_THINK_OPEN, opened):
        return 0
    closed = text.find(_THINK_CLOSE, opened)
    return len(text) if closed < 0 else closed + len(_THINK_CLOSE)


def _scan(text: str, start: int) -> Iterator[_Found]:
    while opening := _OPEN.search(text, start):
        found = _call_at(text, opening)
        start = opening.end() if found is None else found.end
        if found is not None:
            yield found


def _call_at(text: str, opening: re.Match[str]) -> _Found | None:
    named = _NAME.match(text, opening.end())
    body = _json_object(text, named.end() if named else opening.end())
    closing = body and _CLOSE.match(text, body[1])
    if not body or not closing:
        return None
    raw = text[opening.start() : closing.end()]
    call = _read_call(named.group().strip() if named else None, body[0], raw)
    return None if call is None else _Found(opening.start(), closing.end(), call)


def _json_object(text: str, start: int) -> tuple[Mapping[str, Any], int] | None:
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return (value, end) if isinstance(value, dict) else None


def _read_call(name: str | None, body: Mapping[str, Any], raw: str) -> ParsedCall | None:
    if name is not None:
        return ParsedCall(name, body, raw_text=raw)
    told, arguments = body.get("name"), _arguments(body.get("arguments"))
    if not isinstance(told, str) or not told or arguments is None:
        return None
    return ParsedCall(told, arguments, raw_text=raw)


def _arguments(value: Any) -> Mapping[str, Any] | None:
    if value is None:
        return {}
    if isinstance(value, str):
        found = _json_object(value, len(value) - len(value.lstrip()))
        return found[0] if found and not value[found[1] :].strip() else None
    return value if isinstance(value, dict) else None


def _beside(text: str, found: tuple[_Found, ...]) -> str:
    borders = [0, *(border for one in found for border in (one.start, one.end)), len(text)]
    pieces = (text[start:end].strip() for start, end in zip(borders[::2], borders[1::2], strict=True))
    return "\n".join(piece for piece in pieces if piece)
