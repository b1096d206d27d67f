"""Standard input: some bytes, and after them the 32 bytes of their SHA-256. Runs in the slot."""

from __future__ import annotations

import os

from sandbox_daemon.agent.worker.told import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _hashlib import openssl_sha256 as sha256  # `hashlib` itself takes 5 ms to import
    except ImportError:
        from hashlib import sha256

_STDIN = 0
_DIGEST_BYTES = 32
_PIECE_BYTES = 1 << 20


class Incoming:
    """The bytes, hashed as they come; the digest is held back until the end."""

    def __init__(self) -> None:
        self._hash = sha256()
        self._ahead = b""
        self._ended = False
        self.size = 0

    def count_in(self, piece: bytes) -> None:
        """What came before."""
        self._hash.update(piece)
        self.size += len(piece)

    def piece(self) -> bytes:
        """The next bytes; empty at the end."""
        while not self._ended:
            more = os.read(_STDIN, _PIECE_BYTES)
            self._ended = not more
            held = self._ahead + more if self._ahead else more
            cut = len(held) - _DIGEST_BYTES
            if more and cut > 0:
                self._ahead = held[cut:]
                piece = held[:cut]
                self.count_in(piece)
                return piece
            self._ahead = held
        return b""

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
