"""Python's literals in text that a model wrote. PURE.

Numbers, strings, lists, tuples, dictionaries, ``True``, ``False``, ``None``, and JSON's spelling of the last
three, which models mix in. No names, no operators, no calls, no f-strings: nothing is compiled or evaluated,
not even by :func:`ast.literal_eval`, which builds a tree of nodes that a hostile text makes deep (1+1+1...)
or a hundred times as large as itself.

Line breaks may stand in strings with single quotes as well. An escape that Python does not know stays as it
is written, as in Python. Tuples become lists: what tools take is JSON.
"""

from __future__ import annotations

import re
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from hermes_trio.models.parsers.cursor import Cursor, Reading, read_whole
from hermes_trio.models.parsers.literals import Notation, read_value

# Each alternative fails before it has moved; see json_text.py.
_STRINGS = {
    "'": (re.compile(r"(?:[^'\\]+|(?=\\.)..)*+", re.DOTALL), re.compile(r"\\")),
    '"': (re.compile(r'(?:[^"\\]+|(?=\\.)..)*+', re.DOTALL), re.compile(r"\\")),
    "'''": (
        re.compile(r"(?:[^'\\]+|(?=\\.)..|(?='[^'])'|(?=''[^'])'')*+", re.DOTALL),
        re.compile(r"\\|'{1,2}"),
    ),
    '"""': (
        re.compile(r'(?:[^"\\]+|(?=\\.)..|(?="[^"])"|(?=""[^"])"")*+', re.DOTALL),
        re.compile(r'\\|"{1,2}'),
    ),
}
_ESCAPE = re.compile(
    r"""\\(?:(?P<plain>[\\'"abfnrtv\n])|(?P<octal>[0-7]{1,3})"""
    r"|x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4}))"
)
_PLAIN = dict(zip("\\'\"abfnrtv\n", "\\'\"\a\b\f\n\r\t\v", strict=False)) | {"\n": ""}
_FLOAT = re.compile(r"[+-]?(?=\.?[0-9])[0-9_]*\.?[0-9_]*(?:[eE][+-]?[0-9]+)?")


def _read_string(cursor: Cursor) -> Reading[str]:
    quotes = yield from cursor.accept("'''", '"""')
    if not quotes:
        quotes = yield from cursor.accept("'", '"')
    text = yield from cursor.take(*_STRINGS[quotes])
    yield from cursor.expect(quotes)
    return _ESCAPE.sub(_escaped, text) if "\\" in text else text


def _escaped(match: re.Match[str]) -> str:
    if match["plain"]:
        return _PLAIN[match["plain"]]
    if match["octal"]:
        return chr(int(match["octal"], 8))
    return chr(int(match["x"] or match["u"] or match["U"], 16))


def _number(word: str) -> int | float:
    try:
        return int(word, 0)
    except ValueError:
        if not _FLOAT.fullmatch(word) or word.lstrip("+-").isdigit():
            raise
        return float(word)


PYTHON: Final = Notation(
    brackets=MappingProxyType({"{": "}", "[": "]", "(": ")"}),
    quotes="'\"",
    read_string=_read_string,
    words=MappingProxyType(
        {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}
    ),
    number=_number,
    trailing_comma=True,
)


def python_value(text: str) -> Any:
    """A literal that is the whole text, but for white space around it.

    Raises:
        Malformed: it is none; the position is one in ``text``.
    """
    return read_whole(text, partial(read_value, notation=PYTHON))
