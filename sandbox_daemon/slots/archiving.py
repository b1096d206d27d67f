"""Snapshots and restores of a slot that one holds alone.

::

    snapshot   layers -> thread: tar, zstd, SHA-256 -> output frames
    restore    input frames -> thread: SHA-256, zstd -> pipe -> worker in the slot: tar -> workspace

Compression runs in threads, a megabyte at a time: it lets go of the interpreter's lock, and the daemon's loop
is never blocked. Decompression is all that the daemon does with an archive, which is hostile: the tar file in
it is taken apart in the slot, with the slot's rights and within its limits.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

import trio
from attrs import frozen

from hermes_trio.errors import InvalidInputError, UnavailableError
from sandbox_daemon.files.flow import CHUNK_BYTES, Outflow
from sandbox_daemon.files.upload import Source, open_pipe, write_whole
from sandbox_daemon.files.worker import Done, Job, work_in
from sandbox_daemon.isolation.policy import SlotLimits
from sandbox_daemon.process.outcome import Outcome
from sandbox_daemon.slots.cell import Cell
from sandbox_daemon.slots.requests import MAX_LIMIT_S, file_failure
from sandbox_daemon.slots.storage import DataDirectory
from sandbox_daemon.workspaces.archive import DIGEST_BYTES, ArchiveError, ArchiveReader
from sandbox_daemon.workspaces.packing import Packing

_PIECE_BYTES: Final = 1 << 20
_UNLIMITED: Final = 1 << 62


@frozen(kw_only=True)
class Archived:
    """What was packed, or restored.

    Args:
        size_bytes: of the archive.
        sha256: likewise.
        base: what the workspace stands on.
        entries: in the archive.
    """

    size_bytes: int
    sha256: str
    base: str | None
    entries: int


async def send_snapshot(storage: DataDirectory, slot: str, outflow: Outflow) -> Archived:
    """Packs a slot's workspace into a sink; nothing may run there.

    Cancellation: abandons; a piece under way is waited for.

    Raises:
        OSError, TooDeepError: it cannot be read.
    """
    base = storage.base_of(slot)
    packing = Packing(
        storage.written_folders(slot),
        base=storage.base_folder(slot),
        base_name=base,
        layered=storage.layered,
    )
    try:
        while (piece := await trio.to_thread.run_sync(_next_piece, packing, outflow)) is not None:
            for start in range(0, len(piece), CHUNK_BYTES):
                await outflow.send(piece[start : start + CHUNK_BYTES])
    finally:
        packing.close()
    return Archived(size_bytes=outflow.sent_bytes, sha256=outflow.sha256, base=base, entries=packing.entries)


def _next_piece(packing: Packing, outflow: Outflow) -> bytes | None:
    """Enough to be worth a change of threads; not so much work that a cancel would wait for it."""
    parts: list[bytes] = []
    size = steps = 0
    while size < _PIECE_BYTES and steps < _STEPS:
        piece = packing.piece()
        if piece is None:
            break
        parts.append(piece)
        size += len(piece)
        steps += 1
    if not parts:
        return None
    whole = b"".join(parts)
    outflow.count(whole)
    return whole


_STEPS: Final = 64
"""Of at most a megabyte each: some 0.2 s of compression."""


class ArchiveInflow:
    """An archive on its way in: what came, made into the tar file that it is.

    Args:
        source: the archive, and after it the 32 bytes of its SHA-256, as in an upload.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._reader = ArchiveReader()
        self._hash = hashlib.sha256()
        self._ahead = b""
        self.size_bytes = 0

    @property
    def base(self) -> str | None:
        """What the workspace stands on, once :meth:`begin` has returned."""
        return self._reader.base

    @property
    def sha256(self) -> str:
        """Of what came."""
        return self._hash.hexdigest()

    async def begin(self) -> None:
        """Reads as far as the base's name.

        Cancellation: abandons.

        Raises:
            ArchiveError: it is no archive.
        """
        await trio.lowlevel.checkpoint()
        while not self._reader.begun:
            piece = await self._receive()
            if not piece:
                self._reader.finish()
            self._feed(piece)

    async def pour(self, writer: int) -> None:
        """Writes the tar file into a pipe.

        Cancellation: abandons.

        Raises:
            ArchiveError: it is not whole, or not what it was.
            BrokenPipeError: nobody reads any more.
        """
        await trio.lowlevel.checkpoint()
        piece = b""
        while self._reader.has_more or (piece := await self._receive()):
            await write_whole(writer, await trio.to_thread.run_sync(self._step, piece))
            piece = b""
        self._reader.finish()
        if self._ahead != self._hash.digest():
            raise ArchiveError("what came is not what was sent: its SHA-256 is another")

    def _step(self, piece: bytes) -> bytes:
        """In a thread: the next bytes in, the next bytes of the tar file out."""
        if piece:
            self._feed(piece)
        return self._reader.take(_PIECE_BYTES)

    def _feed(self, piece: bytes) -> None:
        self._hash.update(piece)
        self.size_bytes += len(piece)
        self._reader.feed(piece)

    async def _receive(self) -> bytes:
        """The next bytes of the archive; the digest behind it is held back."""
        while more := await self._source.receive():
            held = self._ahead + more
            piece, self._ahead = held[:-DIGEST_BYTES], held[-DIGEST_BYTES:]
            if piece:
                return piece
        return b""


async def unpack(cell: Cell, inflow: ArchiveInflow, limits: SlotLimits) -> Archived | Outcome:
    """Puts an archive into a workspace that is as its base is.

    Cancellation: shielded, at most 2.75 s: the worker is killed first. The workspace is to be made anew.

    Returns:
        What was restored; an outcome when the slot was lost meanwhile.

    Raises:
        InvalidInputError: it is no archive, or one that cannot be restored.
        UnavailableError: the workspace has not enough room for it.
    """
    what = {
        "max_entries": limits.max_files or _UNLIMITED,
        "max_content": limits.disk_bytes or _UNLIMITED,
    }
    failures: list[ArchiveError] = []
    reader, writer = open_pipe()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pour, inflow, writer, nursery.cancel_scope, failures)
            job = Job(verb="restore", what=what, limit_s=MAX_LIMIT_S, stdin_fd=reader)
            done = await work_in(cell, job)
            nursery.cancel_scope.cancel()
    finally:
        os.close(reader)
    if failures:
        raise invalid(failures[0]) from failures[0]
    return done if isinstance(done, Outcome) else _restored(done, inflow)


async def _pour(
    inflow: ArchiveInflow, writer: int, scope: trio.CancelScope, failures: list[ArchiveError]
) -> None:
    """The worker sees the end of its input only when all of the archive was right."""
    try:
        await trio.lowlevel.checkpoint()
        try:
            await inflow.pour(writer)
        except ArchiveError as error:
            failures.append(error)
            scope.cancel()
        except BrokenPipeError:
            pass  # the worker has ended, and says why
    finally:
        os.close(writer)


def _restored(done: Done, inflow: ArchiveInflow) -> Archived:
    if done.told.failed is not None:
        failure = file_failure(done.told.failed, path="the workspace", max_bytes=0)
        raise UnavailableError(f"The workspace could not be restored: {failure.error}.")
    if done.told.refused:
        raise invalid(done.told.refused)
    return Archived(
        size_bytes=inflow.size_bytes,
        sha256=inflow.sha256,
        base=inflow.base,
        entries=done.told.number("entries"),
    )


def invalid(why: object) -> InvalidInputError:
    """The answer to an archive that cannot be restored."""
    return InvalidInputError(f"is not an archive that can be restored: {why}", field="archive")
