"""Dialects that put their calls into a section, with tokens around it and around each call. PURE."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from hermes_trio.models.parsers.base import CallReader, Dialect, Draft
from hermes_trio.models.parsers.cursor import Cursor, Reading
from hermes_trio.models.parsers.schemas import ArgumentTypes

OneCall: TypeAlias = Callable[[Cursor], Reading[Draft]]
"""Reads what stands between the tokens around one call."""


def section_dialect(
    *,
    sections: tuple[str, ...],
    ends_of_sections: tuple[str, ...],
    call: str,
    end_of_call: str,
    read_one: OneCall,
    ends: tuple[str, ...],
) -> Dialect:
    """A dialect with these tokens.

    A call without a section around it is read too: models forget the token.
    """

    def read(cursor: Cursor, opener: str, _types: ArgumentTypes) -> CallReader:
        if opener != call:
            yield from cursor.skip_space()
            yield from cursor.expect(call)
        while True:
            draft = yield from read_one(cursor)
            yield from cursor.expect_or_end(end_of_call)
            yield draft
            yield from cursor.skip_space()
            if not (yield from cursor.accept(call)):
                break
        yield from cursor.accept(*ends_of_sections)

    return Dialect(openers=(*sections, call), closer=end_of_call, read=read, ends=ends)
