"""Llama 3.2 and 4, and others, in Python's notation: ``[bash(command="ls"), todo()]``. PURE.

Arguments have names, and values that are literals: see :mod:`hermes_trio.models.parsers.python_text`.
Without ``<|python_start|>`` (or ``<|python_tag|>``) before it a list counts only where the model has said
nothing yet. A call outside a list is text, as the models are told.

Source: Meta's prompt formats of Llama 3.2 and Llama 4 ("zero shot function calling").
"""

from __future__ import annotations

import re
from typing import Any

from hermes_trio.models.parsers.base import CallReader, Dialect, Draft
from hermes_trio.models.parsers.calls import read_drafts, unmarked
from hermes_trio.models.parsers.cursor import Cursor, Reading
from hermes_trio.models.parsers.literals import read_value
from hermes_trio.models.parsers.python_text import PYTHON
from hermes_trio.models.parsers.schemas import ArgumentTypes

_NAME = re.compile(r"[\w.-]*")
_LOOKS_LIKE_A_CALL = re.compile(r"\[\s*[\w.-]+\((?:\)|\s*\w+\s*=)")


def _read(cursor: Cursor, opener: str, _types: ArgumentTypes) -> CallReader:
    yield from cursor.skip_space()
    calls = read_drafts(cursor, _one)
    yield from (calls if opener else unmarked(cursor, calls, _LOOKS_LIKE_A_CALL))
    yield from cursor.skip_space()
    yield from cursor.accept("<|python_end|>")


def _one(cursor: Cursor) -> Reading[Draft]:
    name = yield from _name(cursor, "a tool")
    yield from cursor.expect("(")
    arguments: dict[str, Any] = {}
    while True:
        yield from cursor.skip_space()
        if (yield from cursor.accept(")")):
            return Draft(name, arguments)
        key = yield from _name(cursor, "an argument")
        if key in arguments:
            raise cursor.malformed(f"the argument {key!r} is given twice")
        yield from cursor.skip_space()
        yield from cursor.expect("=")
        arguments[key] = yield from read_value(cursor, PYTHON)
        yield from cursor.skip_space()
        if (yield from cursor.expect(",", ")")) == ")":
            return Draft(name, arguments)


def _name(cursor: Cursor, whose: str) -> Reading[str]:
    name = yield from cursor.take(_NAME)
    if not name:
        raise cursor.malformed(f"expected the name of {whose}")
    return name


LLAMA_PYTHONIC = Dialect(
    openers=("<|python_start|>", "<|python_tag|>"),
    read=_read,
    bare="[",
    ends=("<|eom|>", "<|eot|>", "<|eom_id|>", "<|eot_id|>"),
)
