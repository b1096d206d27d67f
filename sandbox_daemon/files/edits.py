"""PURE: replacing a text in a file, and words for why it cannot be."""

from __future__ import annotations

from typing import Final

from attrs import frozen

_MAX_SHOWN: Final = 3
"""Places that are named when a text is not unique."""


class EditError(Exception):
    """Nothing was changed; the text says what to do about it."""


@frozen(kw_only=True)
class Edited:
    """The new content.

    Args:
        content: all of it.
        replacements: how many there were.
        first_line: where the first begins, counted from 1.
    """

    content: bytes
    replacements: int
    first_line: int


def replace_text(content: bytes, old: bytes, new: bytes, *, replace_all: bool) -> Edited:
    """Replace ``old``, which must be there, and once unless all are meant.

    Raises:
        EditError: it is not so, or nothing would change.
    """
    if not old:
        raise EditError("old_text is empty; to make a file, write it")
    if old == new:
        raise EditError("old_text and new_text are the same")
    count = content.count(old)
    if count == 0:
        raise EditError(f"old_text was not found{_nearly(content, old)}")
    if count > 1 and not replace_all:
        where = ", ".join(map(str, _lines_of(content, old)))
        more = ", ..." if count > _MAX_SHOWN else ""
        raise EditError(
            f"old_text is there {count} times, in lines {where}{more}; take more of what is around it, or set"
            " replace_all"
        )
    return Edited(
        content=content.replace(old, new), replacements=count, first_line=_line_of(content, content.find(old))
    )


def _line_of(content: bytes, offset: int) -> int:
    return content.count(b"\n", 0, offset) + 1


def _lines_of(content: bytes, old: bytes) -> list[int]:
    lines: list[int] = []
    offset = content.find(old)
    while offset >= 0 and len(lines) < _MAX_SHOWN:
        lines.append(_line_of(content, offset))
        offset = content.find(old, offset + len(old))
    return lines


def _nearly(content: bytes, old: bytes) -> str:
    """What a model often gets wrong: the spaces, or the ends of lines."""
    if old in content.replace(b"\r\n", b"\n"):
        return "; the file's lines end in CR LF"
    wanted = [line.strip() for line in old.splitlines() if line.strip()]
    lines = [line.strip() for line in content.splitlines()]
    if not wanted or wanted[0] not in lines:
        return ""
    number = lines.index(wanted[0]) + 1
    if lines[number - 1 :][: len(wanted)] == wanted:
        return f"; but for spaces at the ends of its lines it is in line {number}"
    return f"; its first line is in line {number}, and what follows there is different"
