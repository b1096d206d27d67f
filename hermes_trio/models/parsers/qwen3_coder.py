"""Qwen3-Coder: tags for the function and for each of its parameters. PURE.

::

    <tool_call>
    <function=bash>
    <parameter=command>
    ls
    </parameter>
    </function>
    </tool_call>

A value is the text between the line breaks next to its tags; its type is told by the tool's schema (see
:mod:`hermes_trio.models.parsers.schemas`). As nothing in it is escaped, tags count by what follows them:

* ``</parameter>`` ends a value when the next parameter, ``</function>`` or ``</tool_call>`` follows;
  elsewhere it is part of the value.
* On a line of its own ``<parameter=`` ends the value as well, and so does ``</function>`` when
  ``</tool_call>`` follows: the models forget the closing tag.
* A whole call inside a value, from ``<tool_call>`` and ``<function=`` to ``</tool_call>``, is part of it: an
  example in a file that is being written does not run.

Also read: a function without ``<tool_call>`` around it, several functions in one, ``</function>`` left out
before ``</tool_call>``.

Source: the chat template of Qwen/Qwen3-Coder-480B-A35B-Instruct; the forgotten tags: what vLLM's
``qwen3_coder`` tool parser puts up with.
"""

from __future__ import annotations

import re
from typing import Any

from hermes_trio.models.parsers.base import CallReader, Dialect, Draft
from hermes_trio.models.parsers.cursor import Cursor, Reading
from hermes_trio.models.parsers.schemas import ArgumentTypes

_CALL, _END_CALL = "<tool_call>", "</tool_call>"
_FUNCTION, _END_FUNCTION = "<function=", "</function>"
_PARAMETER, _END_PARAMETER = "<parameter=", "</parameter>"
_NAME = re.compile(r"[^<>\n]*")
_TAGS = (_END_PARAMETER, f"\n{_PARAMETER}", f"\n{_END_FUNCTION}", _CALL)


def _read(cursor: Cursor, opener: str, types: ArgumentTypes) -> CallReader:
    if opener == _CALL:
        yield from cursor.skip_space()
        yield from cursor.expect(_FUNCTION)
    while True:
        draft = yield from _function(cursor, types)
        yield from cursor.skip_space()
        yield from cursor.accept(_END_CALL)
        yield draft
        if not (yield from cursor.accept(_FUNCTION)):
            return


def _function(cursor: Cursor, types: ArgumentTypes) -> Reading[Draft]:
    """Behind ``<function=``, up to the end of the function."""
    name = yield from _name(cursor, "a function")
    cursor.commit()
    arguments: dict[str, Any] = {}
    open_ = True
    while open_:
        yield from cursor.skip_space()
        if arguments and (yield from cursor.next_is(_END_CALL)):
            break
        if (yield from cursor.expect(_PARAMETER, _END_FUNCTION)) == _END_FUNCTION:
            break
        key = yield from _name(cursor, "a parameter")
        text, open_ = yield from _value(cursor, key)
        arguments[key] = types.read(name, key, text)
    return Draft(name, arguments)


def _name(cursor: Cursor, whose: str) -> Reading[str]:
    name = (yield from cursor.take(_NAME)).strip()
    if not name:
        raise cursor.malformed(f"expected the name of {whose}")
    yield from cursor.expect(">")
    return name


def _value(cursor: Cursor, key: str) -> Reading[tuple[str, bool]]:
    """A value up to what ends it, and whether the function goes on behind it."""
    pieces = []
    while True:
        text, tag = yield from cursor.until(*_TAGS)
        pieces.append(text)
        if not tag:
            raise cursor.malformed(f"expected {_END_PARAMETER} behind the value of {key!r}")
        if tag == f"\n{_PARAMETER}":
            return _trimmed(pieces), True
        cursor.skip(len(tag))
        space = yield from cursor.skip_space()
        follows = yield from cursor.next_is(_PARAMETER, _END_FUNCTION, _END_CALL, _FUNCTION)
        if tag == _END_PARAMETER and follows and follows != _FUNCTION:
            return _trimmed(pieces), True
        if tag == f"\n{_END_FUNCTION}" and follows == _END_CALL:
            return _trimmed(pieces), False
        pieces += (tag, space)
        if tag == _CALL and follows == _FUNCTION:
            pieces.append((yield from cursor.until(_END_CALL))[0])


def _trimmed(pieces: list[str]) -> str:
    return "".join(pieces).removeprefix("\n").removesuffix("\n")


QWEN3_CODER = Dialect(openers=(_CALL, _FUNCTION), closer=_END_CALL, read=_read, ends=("<|im_end|>",))
