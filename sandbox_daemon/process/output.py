"""PURE: what is kept of a command's output.

Of each stream its head, its tail and the exact count, and of both the order in which they came.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Final


class BoundedCapture:
    """Keeps at most ``limit`` bytes of a stream, half of it head and half tail, in constant memory.

    When more than ``limit`` went by, :meth:`kept` is head and tail without anything between; the border lies
    at ``limit // 2``, so whoever shows it can say there how much was left out.
    """

    __slots__ = ("_hash", "_head", "_head_size", "_tail", "_tail_size", "total")

    def __init__(self, limit: int, *, hashed: bool = False) -> None:
        self._head_size = limit // 2
        self._tail_size = limit - self._head_size
        self._head = bytearray()
        self._tail = bytearray()
        self._hash = hashlib.sha256() if hashed else None
        self.total = 0
        """Bytes seen so far, kept or not."""

    def __repr__(self) -> str:
        return f"<BoundedCapture {self.total} bytes seen, {len(self._head) + len(self._tail)} held>"

    def feed(self, data: memoryview) -> None:
        """Takes the next piece of the stream. The view may be reused afterwards."""
        self.total += len(data)
        if self._hash is not None:
            self._hash.update(data)
        room = self._head_size - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if len(data) >= self._tail_size:
            self._tail[:] = data[len(data) - self._tail_size :]
        elif data:
            self._tail += data
            if len(self._tail) > 2 * self._tail_size:  # trimmed once per tail's length, not once per piece
                del self._tail[: -self._tail_size]

    @property
    def truncated(self) -> bool:
        """Whether something between head and tail was dropped."""
        return self.total > self._head_size + self._tail_size

    def kept(self) -> bytes:
        """Head and tail."""
        surplus = max(0, len(self._tail) - self._tail_size)
        return bytes(self._head) + bytes(self._tail[surplus:])

    @property
    def sha256(self) -> str | None:
        """Of everything that went by, kept or not; ``None`` when nobody asked for it."""
        return None if self._hash is None else self._hash.hexdigest()


_RUNS_KEPT: Final = 256


class Order:
    """In which order the pieces of two streams came, as runs of (stream, bytes).

    Of a long alternation the first and the last runs are kept; what is missing between them is the rest of
    the streams' totals.
    """

    __slots__ = ("_first", "_last", "_streams")

    def __init__(self) -> None:
        self._first: list[list[int]] = []
        self._last: deque[list[int]] = deque(maxlen=_RUNS_KEPT)
        self._streams: set[int] = set()

    def note(self, stream: int, size: int) -> None:
        """The next ``size`` bytes were of this stream."""
        newest = self._last or self._first
        if newest and newest[-1][0] == stream:
            newest[-1][1] += size
            return
        self._streams.add(stream)
        (self._last if len(self._first) == _RUNS_KEPT else self._first).append([stream, size])

    def runs(self) -> list[list[int]]:
        """First and last runs; empty unless both streams said something: then there is nothing to order."""
        return [*self._first, *self._last] if len(self._streams) > 1 else []
