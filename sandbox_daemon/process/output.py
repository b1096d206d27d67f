"""PURE: what is kept of a stream: its head, its tail, and the exact count."""

from __future__ import annotations


class BoundedCapture:
    """Keeps at most ``limit`` bytes of a stream, half of it head and half tail, in constant memory.

    When more than ``limit`` went by, :meth:`kept` is head and tail without anything between; the border lies
    at ``limit // 2``, so whoever shows it can say there how much was left out.
    """

    __slots__ = ("_head", "_head_size", "_tail", "_tail_size", "total")

    def __init__(self, limit: int) -> None:
        self._head_size = limit // 2
        self._tail_size = limit - self._head_size
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0
        """Bytes seen so far, kept or not."""

    def __repr__(self) -> str:
        return f"<BoundedCapture {self.total} bytes seen, {len(self._head) + len(self._tail)} held>"

    def feed(self, data: memoryview) -> None:
        """Takes the next piece of the stream. The view may be reused afterwards."""
        self.total += len(data)
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
