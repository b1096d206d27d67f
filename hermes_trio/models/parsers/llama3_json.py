"""Llama 3.1 to 4 in JSON: ``<|python_tag|>{"name": ..., "parameters": {...}}``, or the object alone. PURE.

Several calls are separated by semicolons, or stand in a list. Without the token a call counts only where the
model has said nothing yet, and only with both ``name`` and ``parameters`` (or ``arguments``): an answer that
is JSON stays an answer. What is written for the built-in interpreter (``<|python_tag|>`` and code) is no call
of this dialect.

Source: Meta's prompt formats of Llama 3.1 and 3.2 ("JSON based tool calling"); the semicolon: the
``llama3_json`` parsers of vLLM and SGLang.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hermes_trio.models.parsers.base import CallReader, Dialect, Draft
from hermes_trio.models.parsers.calls import draft_of, read_draft, read_drafts, unmarked
from hermes_trio.models.parsers.cursor import Cursor, Malformed, Reading
from hermes_trio.models.parsers.json_text import read_json_object
from hermes_trio.models.parsers.schemas import ArgumentTypes

_LOOKS_LIKE_A_CALL = re.compile(
    r'\[?\s*\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*"[^"]*"\s*,\s*"(?:parameters|arguments)"'
)


def _read(cursor: Cursor, opener: str, _types: ArgumentTypes) -> CallReader:
    yield from cursor.skip_space()
    if opener:
        yield from _calls(cursor, read_draft)
    else:
        yield from unmarked(cursor, _calls(cursor, _with_arguments), _LOOKS_LIKE_A_CALL)


def _calls(cursor: Cursor, read_one: Callable[[Cursor], Reading[Draft]]) -> CallReader:
    if (yield from cursor.next_is("[")):
        yield from read_drafts(cursor, read_one)
        return
    while True:
        yield (yield from read_one(cursor))
        yield from cursor.skip_space()
        if not (yield from cursor.accept(";")):
            return
        yield from cursor.skip_space()
        if not (yield from cursor.next_is("{")):
            return


def _with_arguments(cursor: Cursor) -> Reading[Draft]:
    body = yield from read_json_object(cursor)
    if not body.keys() & {"parameters", "arguments"}:
        raise Malformed("", position=cursor.position)
    return draft_of(cursor, body)


LLAMA3_JSON = Dialect(
    openers=("<|python_tag|>",),
    read=_read,
    bare="{[",
    ends=("<|eom_id|>", "<|eot_id|>", "<|eom|>", "<|eot|>"),
)
