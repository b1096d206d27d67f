"""The Hermes dialect: ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``. PURE.

Also read: ``<tool_call>name{"argument": ...}</tool_call>``, arguments that are JSON within a string, and a
closing tag that is missing because generation ended there or the next call begins. The JSON decides where a
call ends, not the tag: a closing tag inside an argument is part of it.

Source: NousResearch Hermes-Function-Calling, README (the prompt format); the bare name is what the ancestor's
models wrote.
"""

from __future__ import annotations

import re

from hermes_trio.models.parsers.base import CallReader, Dialect, Draft
from hermes_trio.models.parsers.calls import read_draft
from hermes_trio.models.parsers.cursor import Cursor
from hermes_trio.models.parsers.json_text import read_json_object
from hermes_trio.models.parsers.schemas import ArgumentTypes

_NAME = re.compile(r"[\w.-]*")


def hermes_like(
    opener: str, closer: str, *, ends: tuple[str, ...], thought: tuple[str, str] = ("<think>", "</think>")
) -> Dialect:
    """A dialect that differs in its tags only."""

    def read(cursor: Cursor, _marker: str, _types: ArgumentTypes) -> CallReader:
        yield from cursor.skip_space()
        name = yield from cursor.take(_NAME)
        if name:
            draft = Draft(name, (yield from read_json_object(cursor)))
        else:
            draft = yield from read_draft(cursor)
        yield from cursor.skip_space()
        if not (yield from cursor.next_is(opener)):
            yield from cursor.expect_or_end(closer)
        yield draft

    return Dialect(openers=(opener,), closer=closer, read=read, ends=ends, thought=thought)


HERMES = hermes_like("<tool_call>", "</tool_call>", ends=("<|im_end|>",))
