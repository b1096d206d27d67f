"""PURE: the last bytes of a stream, addressed by their place in the whole stream."""

from __future__ import annotations


class ByteRing:
    """Keeps at least the last ``limit`` bytes, at most twice as many."""

    __slots__ = ("_held", "_limit", "end")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()
        self.end = 0
        """Bytes that have gone by."""

    def __repr__(self) -> str:
        return f"<ByteRing {self.start}..{self.end}>"

    @property
    def start(self) -> int:
        """The first byte that is still here."""
        return self.end - len(self._held)

    def feed(self, data: bytes | memoryview) -> None:
        """The next piece."""
        self._held += data
        self.end += len(data)
        if len(self._held) > 2 * self._limit:  # trimmed once per limit, not once per piece
            del self._held[: -self._limit]

    def read(self, offset: int, max_bytes: int) -> tuple[int, bytes]:
        """Where the piece really begins, and the piece: what is no more here is left out."""
        begin = min(max(offset, self.start), self.end)
        return begin, bytes(self._held[begin - self.start : begin - self.start + max_bytes])
