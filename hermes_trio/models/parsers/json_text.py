"""JSON in text that a model wrote, as RFC 8259 has it but for one thing. PURE.

The one thing: control characters may stand in strings as they are. Models put line breaks into strings
without escaping them, and what they mean is clear. Numbers that no IEEE double holds (``1e999``) and those
longer than Python converts (4,300 digits) are refused.

Of two members with one name the last counts, as in Python's ``json``.
"""

from __future__ import annotations

import json
import re
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from hermes_trio.models.parsers.cursor import Cursor, Reading, read_whole
from hermes_trio.models.parsers.literals import Notation, read_object, read_value

# Each alternative fails before it has moved: before Python 3.11.5 one that fails later leaves the end of a
# possessive quantifier where it was by then (cpython issue 106052).
_STRING = re.compile(r'(?:[^"\\]+|(?=\\["\\/bfnrt])..|(?=\\u[0-9a-fA-F]{4}).{6})*+')
_ESCAPE_BEGUN = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_DECODER = json.JSONDecoder(strict=False)


def _read_string(cursor: Cursor) -> Reading[str]:
    cursor.skip(1)
    text = yield from cursor.take(_STRING, _ESCAPE_BEGUN)
    if not (yield from cursor.accept('"')):
        raise cursor.malformed(
            "no such escape in a JSON string; a backslash is written \\\\"
            if not cursor.exhausted
            else 'expected "'
        )
    if "\\" not in text:
        return text
    decoded: str = _DECODER.decode(f'"{text}"')
    return decoded


def _number(word: str) -> int | float:
    match = _NUMBER.fullmatch(word)
    if not match:
        raise ValueError(word)
    if not match[1] and not match[2]:
        return int(word)
    number = float(word)
    if number in (float("inf"), float("-inf")):
        raise ValueError(word)
    return number


JSON: Final = Notation(
    brackets=MappingProxyType({"{": "}", "[": "]"}),
    quotes='"',
    read_string=_read_string,
    words=MappingProxyType({"true": True, "false": False, "null": None}),
    number=_number,
    trailing_comma=False,
)


def read_json_object(cursor: Cursor) -> Reading[dict[str, Any]]:
    """Read a JSON object, white space before it included.

    Raises:
        Malformed: there is none.
    """
    return read_object(cursor, JSON)


def loads(text: str) -> Any:
    """A JSON value that is the whole text, but for white space around it.

    Raises:
        Malformed: it is none; the position is one in ``text``.
    """
    return read_whole(text, partial(read_value, notation=JSON))
