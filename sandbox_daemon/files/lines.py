"""PURE: which bytes of a file are the lines that were asked for, found as the file goes by."""

from __future__ import annotations

from attrs import define, field


@define
class LineRange:
    """Takes a file piece by piece, and keeps lines ``first`` to ``last``, as many bytes as are allowed.

    Args:
        first: counted from 1.
        last: ``None``: to the end.
        max_bytes: kept at most.
    """

    first: int
    last: int | None
    max_bytes: int
    truncated: bool = False
    _kept: bytearray = field(factory=bytearray)
    _line: int = 1  # of the next byte
    _open: bool = False  # whether that line has a byte yet

    def feed(self, piece: bytes) -> bool:
        """The next piece. False: nothing that follows is wanted."""
        start = 0
        while start < len(piece):
            end = piece.find(b"\n", start) + 1 or len(piece)
            if self._line >= self.first and not self._keep(piece[start:end]):
                return False
            self._open = piece[end - 1] != 0x0A
            if not self._open:
                self._line += 1
                if self.last is not None and self._line > self.last:
                    return False
            start = end
        return True

    def _keep(self, part: bytes) -> bool:
        room = self.max_bytes - len(self._kept)
        self._kept += part[:room]
        self.truncated = len(part) > room
        return not self.truncated

    @property
    def reached(self) -> bool:
        """Whether all lines that were asked for have gone by."""
        return self.last is not None and self._line > self.last

    @property
    def kept(self) -> bytes:
        """The lines."""
        return bytes(self._kept)

    @property
    def last_line(self) -> int:
        """The last one of which something was kept; ``first`` - 1 when nothing was."""
        if not self._kept:
            return self.first - 1
        return self.first + self._kept.count(b"\n") - (self._kept[-1] == 0x0A)

    @property
    def total_lines(self) -> int:
        """Of a file that has gone by to its end."""
        return self._line if self._open else self._line - 1
