"""PURE: the outside of a workspace's archive: what it stands on, compression, and the proof that it is whole.

::

    skippable frame   {"archive": "hermes-trio workspace", "version": 1, "base": null}
    zstd frame        a tar file: see ``sandbox_daemon/agent/members.py``
    skippable frame   SHA-256 of all that is before it

Skippable frames are zstd's own, so ``zstd -dc`` gives the tar file. The digest is in the archive and not only
on the wire: a file may lie for a year between a snapshot and its restore.

Source: RFC 8878.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from typing import Any, Final

if sys.version_info >= (3, 14):  # pragma: no cover - one of the two on each Python
    from compression import zstd
else:
    from backports import zstd

_FRAME: Final = struct.Struct("<II")
_HEAD_MAGIC: Final = 0x184D2A50
_TAIL_MAGIC: Final = 0x184D2A5F
_KIND: Final = "hermes-trio workspace"
_VERSION: Final = 1
_MAX_HEAD_BYTES: Final = 4096
DIGEST_BYTES: Final = 32
_TAIL_BYTES: Final = _FRAME.size + DIGEST_BYTES
_LEVEL: Final = 1
"""Of zstd. On a tree of Python sources, 3 makes archives a sixth smaller and takes 2.4 times as long."""
_MAX_WINDOW_LOG: Final = 23
"""8 MiB, as RFC 8878 wants of every reader: what an archive may make its reader hold."""


class ArchiveError(Exception):
    """This is no archive of a workspace, or not all of one; the text says why."""


class ArchiveWriter:
    """Makes an archive of a tar file. What the methods return is the archive, in order.

    Args:
        base: what the workspace stands on; ``None``: nothing.
    """

    def __init__(self, base: str | None) -> None:
        self._base = base
        self._hash = hashlib.sha256()
        self._compressor = zstd.ZstdCompressor(level=_LEVEL)

    def begin(self) -> bytes:
        """What comes first."""
        text = json.dumps({"archive": _KIND, "version": _VERSION, "base": self._base}).encode()
        return self._counted(_FRAME.pack(_HEAD_MAGIC, len(text)) + text)

    def feed(self, data: bytes) -> bytes:
        """The next bytes of the tar file; often nothing comes of them yet."""
        return self._counted(self._compressor.compress(data))

    def finish(self) -> bytes:
        """The end."""
        rest = self._counted(self._compressor.flush())
        return rest + _FRAME.pack(_TAIL_MAGIC, DIGEST_BYTES) + self._hash.digest()

    def _counted(self, data: bytes) -> bytes:
        self._hash.update(data)
        return data


class ArchiveReader:
    """Makes a tar file of an archive: :meth:`feed` what comes, and :meth:`take` while it :attr:`has_more`."""

    def __init__(self) -> None:
        self._held = b""  # before the head is whole
        self._piece = b""  # what the decompressor has now
        self._pending = b""  # what it is to get
        self._tail = b""
        self._hash = hashlib.sha256()
        options = {int(zstd.DecompressionParameter.window_log_max): _MAX_WINDOW_LOG}
        self._decompressor = zstd.ZstdDecompressor(options=options)
        self.begun = False
        """Whether the head has come."""
        self.base: str | None = None
        """What the workspace stands on, once it has."""

    def feed(self, data: bytes) -> None:
        """The next bytes. :class:`ArchiveError` when it is no archive."""
        if not self.begun:
            self._held += data
            self._read_head()
        elif self._decompressor.eof:
            self._keep_tail(data)
        else:
            self._pending = self._piece = data

    @property
    def has_more(self) -> bool:
        """Whether something may still come of what was fed."""
        if not self.begun or self._decompressor.eof:
            return False
        return bool(self._pending) or not self._decompressor.needs_input

    def take(self, most: int) -> bytes:
        """The next bytes of the tar file; there may be none, though :attr:`has_more` said so."""
        if not self.has_more:
            return b""
        try:
            data = self._decompressor.decompress(self._pending, most)
        except zstd.ZstdError as error:
            raise ArchiveError(f"its content cannot be decompressed: {error}") from error
        self._pending = b""
        if self._decompressor.eof:
            unused = self._decompressor.unused_data
            self._count(self._piece[: len(self._piece) - len(unused)])
            self._keep_tail(unused)
        elif self._decompressor.needs_input:
            self._count(self._piece)
        return data

    def finish(self) -> None:
        """Nothing follows. :class:`ArchiveError` unless it is whole, and what it was when it was made."""
        if not self.begun or not self._decompressor.eof or len(self._tail) < _TAIL_BYTES:
            raise ArchiveError("it ends before its end")
        magic, size = _FRAME.unpack_from(self._tail)
        if magic != _TAIL_MAGIC or size != DIGEST_BYTES or len(self._tail) > _TAIL_BYTES:
            raise ArchiveError("something else follows its content")
        if self._tail[_FRAME.size :] != self._hash.digest():
            raise ArchiveError("its SHA-256 is not the one that it had when it was made")

    def _count(self, data: bytes) -> None:
        self._hash.update(data)
        self._piece = b""

    def _keep_tail(self, data: bytes) -> None:
        self._tail = (self._tail + data)[: _TAIL_BYTES + 1]

    def _read_head(self) -> None:
        if len(self._held) < _FRAME.size:
            return
        magic, size = _FRAME.unpack_from(self._held)
        if magic != _HEAD_MAGIC or size > _MAX_HEAD_BYTES:
            raise ArchiveError("it does not begin as an archive of a workspace does")
        end = _FRAME.size + size
        if len(self._held) < end:
            return
        self.base = _base_of(self._held[_FRAME.size : end])
        self._count(self._held[:end])
        self._pending = self._piece = self._held[end:]
        self._held = b""
        self.begun = True


def _base_of(text: bytes) -> str | None:
    try:
        head: Any = json.loads(text)
    except ValueError:
        head = None
    if not isinstance(head, dict) or head.get("archive") != _KIND:
        raise ArchiveError("it does not begin as an archive of a workspace does")
    if head.get("version") != _VERSION:
        raise ArchiveError(f"it is of version {str(head.get('version'))[:20]}, which is not read here")
    base = head.get("base")
    if base is not None and not _is_digest(base):
        raise ArchiveError("the base that it names is none")
    return None if base is None else str(base)


def _is_digest(base: object) -> bool:
    return isinstance(base, str) and len(base) == 64 and not base.strip("0123456789abcdef")
