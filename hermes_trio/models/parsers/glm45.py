"""GLM 4.5 and 4.6: the name, then a tag for each key and each value. PURE.

::

    <tool_call>bash
    <arg_key>command</arg_key>
    <arg_value>ls</arg_value>
    </tool_call>

A value is the text between its tags as it is; its type is told by the tool's schema (see
:mod:`hermes_trio.models.parsers.schemas`). ``</arg_value>`` ends it when the next key or ``</tool_call>``
follows, elsewhere it is part of the value. So is a whole call inside a value, from ``<tool_call>``, a name
and ``<arg_key>`` to ``</tool_call>``: an example in a file that is being written does not run. A call counts
when it is closed: what was cut off may have been a further argument.

Source: the chat template of zai-org/GLM-4.5.
"""

from __future__ import annotations

import re
from typing import Any

from hermes_trio.models.parsers.base import CallReader, Dialect, Draft
from hermes_trio.models.parsers.cursor import Cursor, Reading
from hermes_trio.models.parsers.schemas import ArgumentTypes

_CALL, _END_CALL = "<tool_call>", "</tool_call>"
_KEY, _END_KEY = "<arg_key>", "</arg_key>"
_VALUE, _END_VALUE = "<arg_value>", "</arg_value>"
_NAME = re.compile(r"[\w.-]*")
_TEXT = re.compile(r"[^<]*")


def glm_like(gap: re.Pattern[str], gap_begun: re.Pattern[str] | None = None) -> Dialect:
    """A dialect that differs in what may stand between the tags.

    Args:
        gap: matches it.
        gap_begun: matches what may be its beginning.
    """

    def read(cursor: Cursor, _marker: str, types: ArgumentTypes) -> CallReader:
        yield from cursor.take(gap, gap_begun)
        name = yield from cursor.take(_NAME)
        if not name:
            raise cursor.malformed("expected the name of a tool")
        arguments: dict[str, Any] = {}
        while True:
            yield from cursor.take(gap, gap_begun)
            if (yield from cursor.expect(_KEY, _END_CALL)) == _END_CALL:
                break
            cursor.commit()
            key = (yield from cursor.take(_TEXT)).strip()
            yield from cursor.expect(_END_KEY)
            yield from cursor.take(gap, gap_begun)
            yield from cursor.expect(_VALUE)
            arguments[key] = types.read(name, key, (yield from value(cursor, key)))
        yield Draft(name, arguments)

    def value(cursor: Cursor, key: str) -> Reading[str]:
        pieces: list[str] = []
        while True:
            text, tag = yield from cursor.until(_END_VALUE, _CALL)
            if not tag:
                raise cursor.malformed(f"expected {_END_VALUE} behind the value of {key!r}")
            cursor.skip(len(tag))
            pieces += (text, tag)
            if tag == _CALL:
                pieces.append((yield from cursor.take(_NAME)))
            space = yield from cursor.take(gap, gap_begun)
            follows = yield from cursor.next_is(_KEY, _END_CALL)
            if tag == _END_VALUE and follows:
                return "".join(pieces[:-1])
            pieces.append(space)
            if tag == _CALL and follows == _KEY:
                pieces.append((yield from cursor.until(_END_CALL))[0])

    return Dialect(openers=(_CALL,), closer=_END_CALL, read=read, ends=("<|observation|>", "<|user|>"))


GLM45 = glm_like(re.compile(r"\s*"))
