"""Credit of one stream: how many bytes the sender may send, in all, before it must wait.

The limit is absolute ("up to byte n of this stream"), so that a credit frame which is said twice, or merged
with a later one, means the same. Both ends keep the same two numbers for each stream and therefore agree on
what is allowed; they differ only by what is on the wire.
"""

from __future__ import annotations

from attrs import define


@define
class Allowance:
    """The two numbers of one stream.

    Attributes:
        limit: bytes granted so far, counted from the stream's beginning. Never falls.
        used: bytes sent so far; the offset of the next chunk. Never exceeds ``limit``.
    """

    limit: int = 0
    used: int = 0

    @property
    def left(self) -> int:
        """Bytes that may be sent now."""
        return self.limit - self.used

    def objection_to(self, offset: int, size: int) -> str:
        """Why this chunk must not come next; empty when it may."""
        if offset != self.used:
            return f"offset {offset} where {self.used} is next"
        if size > self.left:
            return f"{size} bytes where the credit has {self.left} left"
        return ""
