"""Reads nested values, in the notation of JSON or of Python, as their text arrives. PURE.

One push-down automaton for both; what differs is a :class:`Notation`. It stops at the first character that
cannot be there, so that a call that lacks a brace does not swallow the next one, and so that the model can
be told where. Nothing is evaluated: values are built from tokens. The stack is a list of its own, at most
:data:`MAX_DEPTH` high, so that no text reaches the interpreter's recursion limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field, frozen

from hermes_trio.models.parsers.cursor import Cursor, Malformed, Reading

MAX_DEPTH: Final = 100
"""Far above what tools take; what writes JSON downstream recurses, and stops near 1,000."""

_WORD = re.compile(r"[\w.+-]*")


@frozen(kw_only=True)
class Notation:
    """How values are written.

    Attributes:
        brackets: each opening bracket with what closes it; braces hold named members.
        quotes: characters that begin a string.
        read_string: reads one, from its first quote on.
        words: what stands for itself.
        number: the value of any other word; raises ``ValueError`` when it is no number.
        trailing_comma: one may stand before a closing bracket.
    """

    brackets: Mapping[str, str]
    quotes: str
    read_string: Callable[[Cursor], Reading[str]]
    words: Mapping[str, Any]
    number: Callable[[str], int | float]
    trailing_comma: bool


@define
class _Container:
    """A bracket that is open."""

    closer: str
    items: list[Any] = field(factory=list)
    members: dict[str, Any] = field(factory=dict)
    key: str = ""
    comma: bool = False

    def put(self, value: Any) -> None:
        if self.closer == "}":
            self.members[self.key] = value
        else:
            self.items.append(value)

    @property
    def value(self) -> Any:
        if self.closer == ")" and len(self.items) == 1 and not self.comma:
            return self.items[0]  # parentheses around a value, not a tuple of one
        return self.members if self.closer == "}" else self.items


def read_value(cursor: Cursor, notation: Notation) -> Reading[Any]:
    """Read one value, white space before it included.

    Raises:
        Malformed: there is none, or it is nested too deep.
    """
    opened: list[_Container] = []
    while True:
        char = cursor.ready or (yield from cursor.next_char())
        if closer := notation.brackets.get(char):
            _descend(cursor, opened, closer)
            if not (yield from _begin_item(cursor, notation, opened[-1], first=True)):
                continue
            value = opened.pop().value
        else:
            value = yield from _scalar(cursor, notation, char)
        while opened:
            opened[-1].put(value)
            if not (yield from _end_item(cursor, notation, opened[-1])):
                break
            value = opened.pop().value
        else:
            return value


def read_object(cursor: Cursor, notation: Notation) -> Reading[dict[str, Any]]:
    """Read an object, white space before it included.

    Raises:
        Malformed: there is none.
    """
    if (yield from cursor.next_char()) != "{":
        raise cursor.malformed("expected {")
    cursor.commit()
    found: dict[str, Any] = yield from read_value(cursor, notation)
    return found


def _descend(cursor: Cursor, opened: list[_Container], closer: str) -> None:
    if len(opened) == MAX_DEPTH:
        raise cursor.malformed(f"values nested more than {MAX_DEPTH} deep")
    cursor.skip(1)
    opened.append(_Container(closer))


def _begin_item(cursor: Cursor, notation: Notation, inside: _Container, *, first: bool) -> Reading[bool]:
    """Read what stands before a value in a container; whether the container was closed instead."""
    char = cursor.ready or (yield from cursor.next_char())
    if char == inside.closer and (first or notation.trailing_comma):
        cursor.skip(1)
        return True
    if inside.closer == "}":
        inside.key = yield from _key(cursor, notation, char)
    return False


def _end_item(cursor: Cursor, notation: Notation, inside: _Container) -> Reading[bool]:
    """Read what stands behind a value in a container; whether the container was closed."""
    char = cursor.ready or (yield from cursor.next_char())
    if char != "," and char != inside.closer:
        raise cursor.malformed(f"expected , or {inside.closer}")
    cursor.skip(1)
    if char == ",":
        inside.comma = True
        return (yield from _begin_item(cursor, notation, inside, first=False))
    return True


def _key(cursor: Cursor, notation: Notation, char: str) -> Reading[str]:
    if not char or char not in notation.quotes:
        raise cursor.malformed("expected the name of a member, in quotes")
    key = yield from notation.read_string(cursor)
    yield from cursor.skip_space()
    yield from cursor.expect(":")
    return key


def _scalar(cursor: Cursor, notation: Notation, char: str) -> Reading[Any]:
    if char and char in notation.quotes:
        return (yield from notation.read_string(cursor))
    position = cursor.position
    word = yield from cursor.take(_WORD)
    if not word:
        raise cursor.malformed("expected a value")
    if word in notation.words:
        return notation.words[word]
    try:
        return notation.number(word)
    except ValueError as error:
        raise Malformed(f"expected a value, not {word[:40]!r}", position=position) from error
