"""PURE: what a job has printed, addressed by byte: its beginning, its end, and honest offsets."""

from __future__ import annotations

from typing import Final

from sandbox_daemon.terminal.ring import ByteRing

HEAD_BYTES: Final = 32 * 1024
TAIL_BYTES: Final = 64 * 1024


class JobLog:
    """Keeps the first ``head`` bytes, and at least the last ``tail`` of those after them.

    The beginning says how a program was set up, or why it was not; the end says where it is now.
    """

    __slots__ = ("_head", "_head_size", "_rest")

    def __init__(self, *, head: int = HEAD_BYTES, tail: int = TAIL_BYTES) -> None:
        self._head_size = head
        self._head = bytearray()
        self._rest = ByteRing(tail)

    def __repr__(self) -> str:
        return f"<JobLog of {self.end} bytes, {self.lost_bytes} lost>"

    @property
    def end(self) -> int:
        """Bytes that were printed."""
        return len(self._head) + self._rest.end

    @property
    def lost_bytes(self) -> int:
        """Of these, no more kept. They lie behind the head, in one piece."""
        return self._rest.start

    def feed(self, data: memoryview) -> None:
        """The next piece. The view may be reused afterwards."""
        room = self._head_size - len(self._head)
        self._head += data[:room]
        self._rest.feed(data[room:])

    def read(self, offset: int, max_bytes: int) -> tuple[int, bytes]:
        """Where the piece really begins, and the piece: up to ``max_bytes`` from ``offset`` on.

        What is no more kept is left out: then the piece begins later than was asked for. A piece never has a
        gap inside, so one that ends at the head's end may be followed by one that begins later.
        """
        size = len(self._head)
        if offset < size:
            piece = bytes(self._head[offset : offset + max_bytes])
            if self.lost_bytes == 0 and offset + len(piece) == size:
                piece += self._rest.read(0, max_bytes - len(piece))[1]
            return offset, piece
        begin, piece = self._rest.read(offset - size, max_bytes)
        return size + begin, piece
