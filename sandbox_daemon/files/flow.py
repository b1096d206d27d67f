"""Bytes on their way out, counted and hashed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from typing import Final

import trio

from sandbox_daemon.process.command import Sink

_DATA: Final = 3
_PIECE_BYTES: Final = 1 << 20
"""Read at a time, off the loop: fewer changes of threads than with chunks, and little to hold."""
CHUNK_BYTES: Final = 256 * 1024
"""What is read as one such is sent as one, without a copy."""


class Outflow:
    """A sink that passes a worker's standard output on as data, and keeps count of it.

    Args:
        output: where it goes.
    """

    def __init__(self, output: Sink) -> None:
        self._output = output
        self._hash = hashlib.sha256()
        self.sent_bytes = 0

    def __repr__(self) -> str:
        return f"<Outflow {self.sent_bytes} bytes>"

    @property
    def resume(self) -> Callable[[], None]:
        """Called when there is room again."""
        return self._output.resume

    @resume.setter
    def resume(self, resume: Callable[[], None]) -> None:
        self._output.resume = resume

    @property
    def sha256(self) -> str:
        """Of all that went by."""
        return self._hash.hexdigest()

    def feed(self, stream: int, data: memoryview | bytes) -> bool:
        """See :class:`Sink`. What a worker says on its standard error is kept elsewhere."""
        if stream != 1:
            return True
        self.count(data)
        return self._output.feed(_DATA, data)

    def count(self, data: memoryview | bytes) -> None:
        """Note what is about to be sent. Takes its time with a large piece: call it in a thread."""
        self._hash.update(data)
        self.sent_bytes += len(data)

    async def send(self, chunk: bytes) -> None:
        """Pass on what was counted, and wait while nobody takes it.

        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint()
        room = trio.Event()
        self.resume = room.set
        if not self._output.feed(_DATA, chunk):
            await room.wait()


async def send_file(descriptor: int, outflow: Outflow, *, offset: int, size: int) -> None:
    """Send ``size`` bytes of a regular file, or what there is of them.

    Cancellation: abandons; a read under way is waited for.
    """
    await trio.lowlevel.checkpoint()
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return  # no agent of ours passes such a thing, and reading it might block for ever
    end = offset + size
    while offset < end:
        chunks = await trio.to_thread.run_sync(_read_counted, descriptor, offset, end, outflow)
        if not chunks:
            return
        for chunk in chunks:
            await outflow.send(chunk)
            offset += len(chunk)


def _read_counted(descriptor: int, offset: int, end: int, outflow: Outflow) -> list[bytes]:
    """The next chunks, up to a piece; fewer at the end of the file."""
    chunks = []
    for start in range(offset, min(end, offset + _PIECE_BYTES), CHUNK_BYTES):
        chunk = os.pread(descriptor, min(CHUNK_BYTES, end - start), start)
        if chunk:
            outflow.count(chunk)
            chunks.append(chunk)
        if len(chunk) < CHUNK_BYTES:
            break
    return chunks


async def hash_file(descriptor: int, size: int) -> str:
    """SHA-256 of the first ``size`` bytes of a regular file, in hexadecimal.

    Cancellation: abandons; a read under way is waited for.
    """
    await trio.lowlevel.checkpoint()
    digest = hashlib.sha256()
    offset = 0
    while offset < size:
        count = await trio.to_thread.run_sync(_hash_piece, descriptor, offset, size, digest.update)
        if not count:
            break
        offset += count
    return digest.hexdigest()


def _hash_piece(descriptor: int, offset: int, size: int, update: Callable[[bytes], None]) -> int:
    piece = os.pread(descriptor, min(4 * _PIECE_BYTES, size - offset), offset)
    update(piece)
    return len(piece)
