"""Mistral: ``[TOOL_CALLS]``, then a list of calls, or one call by name. PURE.

::

    [TOOL_CALLS] [{"name": "bash", "arguments": {"command": "ls"}}, ...]      tokenizers before v11
    [TOOL_CALLS]bash{"command": "ls"}                                         v11, the token before each call
    [TOOL_CALLS]bash[CALL_ID]Xq3bT9c1D[ARGS]{"command": "ls"}                 v11, with all its tokens
    [TOOL_CALLS]bash[ARGS]{"command": "ls"}                                   v13

Also read: one call that is not in a list. A list that is broken further on keeps the calls before the break.

Source: mistral-common, the instruct tokenizers v3, v11 and v13.
"""

from __future__ import annotations

import re

from hermes_trio.models.parsers.base import CallReader, Dialect, Draft
from hermes_trio.models.parsers.calls import read_draft, read_drafts
from hermes_trio.models.parsers.cursor import Cursor, Reading
from hermes_trio.models.parsers.json_text import read_json_object
from hermes_trio.models.parsers.schemas import ArgumentTypes

_NAME = re.compile(r"[\w.-]*")
_CALL_ID, _ARGUMENTS = "[CALL_ID]", "[ARGS]"


def _read(cursor: Cursor, _opener: str, _types: ArgumentTypes) -> CallReader:
    match (yield from cursor.next_char()):
        case "[":
            yield from read_drafts(cursor)
        case "{":
            yield (yield from read_draft(cursor))
        case _:
            yield (yield from _named(cursor))


def _named(cursor: Cursor) -> Reading[Draft]:
    name = yield from cursor.take(_NAME)
    if not name:
        raise cursor.malformed("expected a list of calls, or the name of a tool")
    call_id = ""
    if (yield from cursor.accept(_CALL_ID)):
        call_id = yield from cursor.take(_NAME)
    yield from cursor.accept(_ARGUMENTS)
    return Draft(name, (yield from read_json_object(cursor)), call_id)


MISTRAL = Dialect(openers=("[TOOL_CALLS]",), read=_read, ends=("</s>",), thought=("[THINK]", "[/THINK]"))
