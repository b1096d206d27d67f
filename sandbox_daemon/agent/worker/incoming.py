"""Standard input: some bytes, and after them the 32 bytes of their SHA-256. Runs in the slot."""

from __future__ import annotations

import io
import os

from sandbox_daemon.agent.worker.told import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import sha256
else:
    try:
        from _hashlib import openssl_sha256 as sha256  # `hashlib` itself takes 5 ms to import
    except ImportError:
        from hashlib import sha256

_STDIN = 0
_DIGEST_BYTES = 32
_PIECE_BYTES = 1 << 20


class Exact(io.RawIOBase):
    """What comes, in pieces of the sizes that are asked for.

    Args:
        pull: gives the next piece, of any size, good until it is asked again; empty at the end.
    """

    def __init__(self, pull: Callable[[], bytes | memoryview]) -> None:
        self._pull = pull
        self._held: bytes | memoryview = b""
        self._taken = 0  # of it: cutting a megabyte for each header would copy it a thousand times

    def read(self, size: int = -1) -> bytes:
        """So many bytes, fewer at the end only."""
        data = bytes(self._held[self._taken : self._taken + size])
        self._taken += len(data)
        while len(data) < size:
            self._held = self._pull()
            if not self._held:
                break
            self._taken = min(size - len(data), len(self._held))
            data += self._held[: self._taken]
        return data


class Incoming:
    """The bytes, hashed as they come; the digest is held back until the end.

    All reads go into one buffer, which begins with what was held back: copies would cost as much as hashing.
    """

    def __init__(self) -> None:
        self._hash = sha256()
        self._view = memoryview(bytearray(_DIGEST_BYTES + _PIECE_BYTES))
        self._ahead = self._view[:0]
        self._ended = False
        self.size = 0

    def count_in(self, piece: bytes | memoryview) -> None:
        """What came before."""
        self._hash.update(piece)
        self.size += len(piece)

    def piece(self) -> memoryview:
        """The next bytes, good until the next piece is asked for; empty at the end."""
        while not self._ended:
            kept = len(self._ahead)
            self._view[:kept] = self._ahead
            size = os.readv(_STDIN, [self._view[kept:]])
            self._ended = not size
            held = self._view[: kept + size]
            cut = max(0, len(held) - _DIGEST_BYTES) if size else 0
            self._ahead = held[cut:]
            if cut:
                self.count_in(held[:cut])
                return held[:cut]
        return self._view[:0]

    @property
    def sha256(self) -> str:
        """Of what came."""
        return self._hash.hexdigest()

    @property
    def is_whole(self) -> bool:
        """Whether the sender got to its end."""
        return self._ended and len(self._ahead) == _DIGEST_BYTES

    def check(self) -> bool:
        """Whether all of it came, as it was sent; says so if not."""
        if not self.is_whole:
            refuse("the upload ended before its end")
            return False
        if self._ahead.hex() != self.sha256:
            refuse("what came is not what was sent: its SHA-256 is another")
            return False
        return True
