"""A place in text that arrives in pieces. PURE.

Readers are generators: they yield when they need more text than has arrived, and are resumed when there is
some, or when there will be none. So a reader is written straight on, as if the text were whole, and a text
cut anywhere is read like the whole one.

Costs are linear in the text, however it is cut: what arrives is joined only to what is not read yet, which
is shorter than a marker; what was read is kept in pieces, and joined once, by who needs it. Nothing is read
twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from functools import lru_cache
from typing import TypeAlias, TypeVar

_T = TypeVar("_T")
Reading: TypeAlias = Generator[None, None, _T]
"""Yields when more input is needed; its value is what was read."""

_SPACE = re.compile(r"\s*")


class Malformed(Exception):
    """The text is not what the dialect says it should be.

    Attributes:
        reason: in words for the model; empty when nobody needs to hear of it, as the text need not have
            been a call at all.
        position: of the character that cannot be there.
    """

    def __init__(self, reason: str, *, position: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position


class Cursor:
    """Reads forward, and keeps what it reads from where it was marked on."""

    def __init__(self) -> None:
        self.ended = False
        """No more text will come."""
        self.committed = False
        """See :meth:`commit`."""
        self._window = ""
        self._at = 0
        self._base = 0  # position of the window's first character in the whole text
        self._kept: list[str] = []  # read since the mark, and no longer in the window
        self._held_from = 0  # where in the window the region since the mark goes on
        self._marked = False

    def __repr__(self) -> str:
        unread = len(self._window) - self._at
        return f"<Cursor at {self.position}, {unread} unread{', ended' if self.ended else ''}>"

    @property
    def position(self) -> int:
        """Of the next character in the whole text."""
        return self._base + self._at

    @property
    def exhausted(self) -> bool:
        """Everything was read."""
        return self.ended and self._at == len(self._window)

    def push(self, text: str) -> None:
        """More text has arrived."""
        if self._marked:
            self._kept.append(self._window[self._held_from : self._at])
        self._window = self._window[self._at :] + text
        self._base += self._at
        self._at = self._held_from = 0

    def mark(self) -> str:
        """Keep what is read from here on.

        Returns:
            what was read since the last mark.
        """
        region = self.release()
        self._marked, self.committed = True, False
        return region

    def release(self) -> str:
        """Keep no longer what is read.

        Returns:
            what was read since the last mark.
        """
        region = "".join((*self._kept, self._window[self._held_from : self._at]))
        self._kept.clear()
        self._held_from, self._marked = self._at, False
        return region

    def _gather(self) -> None:
        """Bring what is kept back into the window."""
        if self._kept:
            region = "".join(self._kept)
            self._window, self._base = region + self._window, self._base - len(region)
            self._at, self._held_from = self._at + len(region), 0
            self._kept.clear()

    def before(self, position: int, *, most: int) -> str:
        """The last characters before a position that were read since the mark."""
        self._gather()
        end = position - self._base
        return self._window[max(self._held_from, end - most) : end]

    def commit(self) -> None:
        """What was read since the mark can be nothing but a call, though maybe a broken one."""
        self.committed = True

    def since_mark(self, most: int) -> str:
        """The first characters that were read since the mark."""
        self._gather()
        return self._window[self._held_from : min(self._at, self._held_from + most)]

    def skip(self, count: int) -> None:
        """Step over characters that are known to be there."""
        self._at += count

    def search(self, markers: tuple[str, ...]) -> tuple[str, str]:
        """Read up to the first of the markers, as far as there is text; never waits.

        Returns:
            the text before it, and the marker, which is not read yet. Without one in sight: all text but
            what may be the beginning of one, and an empty string.
        """
        match = _any_of(markers).search(self._window, self._at)
        begin = self._at
        if match:
            self._at = match.start()
        elif self.ended:
            self._at = len(self._window)
        else:
            self._at = len(self._window) - self._beginning_of(markers)
        return self._window[begin : self._at], match.group() if match else ""

    def _beginning_of(self, markers: tuple[str, ...]) -> int:
        """How many characters at the end of the window may be the beginning of a marker."""
        longest = max(map(len, markers)) - 1
        found = _beginning_at_end(markers).search(self._window, max(self._at, len(self._window) - longest))
        return len(found.group()) if found else 0

    @property
    def char(self) -> str:
        """The next character; empty at the end, or when it has not arrived: wait for it by what yields."""
        return self._window[self._at : self._at + 1]

    @property
    def ready(self) -> str:
        """The next character if it is here and no white space; else empty: saves most of ``next_char``."""
        char = self.char
        return "" if char.isspace() else char

    def next_char(self) -> Reading[str]:
        """Read white space; the next character behind it, which is not read; empty at the end."""
        yield from self.skip_space()
        return self.char

    def take(self, run: re.Pattern[str], partial: re.Pattern[str] | None = None) -> Reading[str]:
        """Read as much as matches.

        Args:
            run: matches the empty string too, and what it matches in two pieces it matches in one.
            partial: matches what may be the beginning of more that ``run`` will match; short.
        """
        pieces = []
        while True:
            match = run.match(self._window, self._at)
            assert match
            pieces.append(match.group())
            self._at = match.end()
            stopped = self._at < len(self._window) and not (
                partial and partial.fullmatch(self._window, self._at)
            )
            if stopped or self.ended:
                return "".join(pieces)
            yield

    def skip_space(self) -> Reading[str]:
        """Read white space."""
        return self.take(_SPACE)

    def next_is(self, *literals: str) -> Reading[str]:
        """Which of the literals comes next; empty when none does. None is the beginning of another."""
        longest = max(len(literal) for literal in literals)
        while True:
            ahead = self._window[self._at : self._at + longest]
            for literal in literals:
                if ahead.startswith(literal):
                    return literal
            if self.ended or not any(literal.startswith(ahead) for literal in literals):
                return ""
            yield

    def accept(self, *literals: str) -> Reading[str]:
        """Read one of the literals if it comes next; empty when none does."""
        found = yield from self.next_is(*literals)
        self.skip(len(found))
        return found

    def expect(self, *literals: str) -> Reading[str]:
        """Read one of the literals.

        Raises:
            Malformed: something else comes.
        """
        found = yield from self.accept(*literals)
        if not found:
            raise self.malformed("expected " + " or ".join(literals))
        return found

    def expect_or_end(self, *literals: str) -> Reading[str]:
        """Read white space, and one of the literals unless the text ends here: generation stops at markers.

        Raises:
            Malformed: something else comes.
        """
        if not (yield from self.next_char()):
            return ""
        return (yield from self.expect(*literals))

    def until(self, *literals: str) -> Reading[tuple[str, str]]:
        """Read up to the first of the literals, which is not read yet.

        Returns:
            the text before it, and the literal; at the end the rest, and an empty string.
        """
        pieces = []
        while True:
            text, found = self.search(literals)
            pieces.append(text)
            if found or self.ended:
                return "".join(pieces), found
            yield

    def malformed(self, reason: str) -> Malformed:
        """The error for what comes next, or for its absence."""
        if self.exhausted:
            reason = f"the text ended too early; {reason}"
        return Malformed(reason, position=self.position)


@lru_cache(maxsize=64)
def _any_of(literals: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(literal) for literal in sorted(literals, key=len, reverse=True)))


@lru_cache(maxsize=64)
def _beginning_at_end(literals: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(f"(?:{'|'.join(map(_some_of, literals))})\\Z")


def _some_of(literal: str) -> str:
    """A pattern for every beginning of the literal but itself and nothing."""
    pattern = ""
    for char in reversed(literal[:-1]):
        pattern = re.escape(char) + (f"(?:{pattern})?" if pattern else "")
    return pattern or "(?!)"


def read_whole(text: str, read: Callable[[Cursor], Reading[_T]]) -> _T:
    """Read a text that is there as a whole, white space at its end included.

    Raises:
        Malformed: something else follows what was read, or what ``read`` raises; positions are those in
            ``text``.
    """
    cursor = Cursor()
    cursor.push(text)
    cursor.ended = True
    value = _finish(read(cursor))
    _finish(cursor.skip_space())
    if not cursor.exhausted:
        raise cursor.malformed("expected nothing more")
    return value


def _finish(reading: Reading[_T]) -> _T:
    try:
        next(reading)
    except StopIteration as stop:
        value: _T = stop.value
        return value
    raise AssertionError("a reader waits for more of a text that has ended")
