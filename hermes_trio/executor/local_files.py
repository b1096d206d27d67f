"""The near end of a transfer: files and trees of this machine, a piece at a time, in threads.

Trees travel as tar archives, which a thread makes or unpacks at the other end of a pipe: nothing of them is
ever held whole.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Final

import trio
from attrs import define, field

from hermes_trio.errors import InvalidInputError
from hermes_trio.link.background import open_background_nursery

if sys.version_info >= (3, 12):
    import tarfile
else:  # 3.11.0 to 3.11.3, Debian 12's among them, have no filters
    from backports import tarfile  # type: ignore[attr-defined]

PIECE_BYTES: Final = 1024 * 1024
"""Read or written by a thread at a time."""


@define(eq=False)
class Local:
    """Bytes from or to this machine, in order, counted and hashed on the way.

    Args:
        transfer: reads at most so many bytes, or writes what it is given. Blocking.
    """

    _read: Callable[[int], bytes] = field(default=lambda _size: b"", repr=False)
    _write: Callable[[bytes], object] = field(default=lambda _data: None, repr=False)
    _hash: hashlib._Hash = field(factory=hashlib.sha256, repr=False)
    size: int = 0
    skipped: dict[str, str] = field(factory=dict)
    """What was not unpacked, and why."""

    @property
    def digest(self) -> bytes:
        """SHA-256 of what has gone by."""
        return self._hash.digest()

    async def read(self, most: int = PIECE_BYTES) -> bytes:
        """The next piece; empty at the end.

        Cancellation: abandons; a read under way is waited for.
        """
        return await trio.to_thread.run_sync(self._read_hashed, most)

    def _read_hashed(self, most: int) -> bytes:
        piece = self._read(most)
        self._count(piece)
        return piece

    async def write(self, chunks: Sequence[bytes]) -> None:
        """The next pieces, all by one change of threads.

        Cancellation: abandons; a write under way is waited for.
        """
        await trio.to_thread.run_sync(self._write_hashed, chunks)

    def _write_hashed(self, chunks: Sequence[bytes]) -> None:
        for chunk in chunks:
            self._write(chunk)
            self._count(chunk)

    def _count(self, data: bytes) -> None:
        self._hash.update(data)
        self.size += len(data)

    async def skip(self, size: int) -> None:
        """So much of it is at the far end already.

        Cancellation: abandons; a read under way is waited for.

        Raises:
            InvalidInputError: it is not that long.
        """
        await trio.lowlevel.checkpoint()
        while self.size < size:
            if not await self.read(min(PIECE_BYTES, size - self.size)):
                raise InvalidInputError(f"{size} bytes of it were sent, and it has {self.size} now")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What this machine's system refuses is told with the path, on one line."""
    try:
        yield
    except OSError as exc:
        raise InvalidInputError(str(exc.strerror or exc), source=str(path)) from exc


@asynccontextmanager
async def open_local(path: Path, mode: str) -> AsyncIterator[Local]:
    """A file of this machine, opened as by :func:`open`; ``"r+b"`` to go on behind what is there.

    Cancellation: abandons; a read or write under way is waited for.

    Raises:
        InvalidInputError: it cannot be opened, or written to its end.
    """
    with naming(path):
        file: IO[bytes] = await trio.to_thread.run_sync(open, path, mode)
    try:
        yield Local(read=file.read, write=file.write)
    finally:
        with trio.CancelScope(shield=True), naming(path):  # it flushes: as long as the disk takes
            await trio.to_thread.run_sync(file.close)


@asynccontextmanager
async def open_packed(folder: Path) -> AsyncIterator[Local]:
    """A folder of this machine, as a tar archive.

    Cancellation: abandons; the thread that packs ends with its pipe.

    Raises:
        InvalidInputError: something in it cannot be read.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    async with _beside(lambda: _pack(folder, writer)):
        try:
            yield Local(read=lambda most: os.read(reader, most))
        finally:
            os.close(reader)


@asynccontextmanager
async def _beside(work: Callable[[], None]) -> AsyncIterator[None]:
    """A thread that works at the other end of a pipe; it ends with its end of the pipe, and is waited for.

    Cancellation: abandons; the body closes its end of the pipe, which ends the thread.

    Raises:
        InvalidInputError: what the thread raised, once the body is over.
    """
    failures: list[InvalidInputError] = []
    ended = trio.Event()

    async def run() -> None:
        await trio.lowlevel.cancel_shielded_checkpoint()
        try:
            await trio.to_thread.run_sync(work)
        except InvalidInputError as exc:
            failures.append(exc)
        finally:
            ended.set()

    async with open_background_nursery() as nursery:
        nursery.start_soon(run)
        try:
            yield
        except BrokenPipeError:  # the thread has failed, and its reason is the better one
            pass
        finally:
            with trio.CancelScope(shield=True):  # likewise
                await ended.wait()
    if failures:
        raise failures[0]


def _pack(folder: Path, writer: int) -> None:
    with naming(folder):
        try:
            with open(writer, "wb") as out, tarfile.open(mode="w|", fileobj=out) as tar:
                tar.add(folder, arcname=".")
        except BrokenPipeError:
            return  # nobody wants the rest


@asynccontextmanager
async def open_unpacked(folder: Path) -> AsyncIterator[Local]:
    """A folder of this machine that a tar archive is unpacked into. The archive comes from a slot: hostile.

    What would lead out of the folder, links included, is left out and told in ``skipped``, and so is what is
    no file, folder or link.

    Cancellation: abandons; what was unpacked stays.

    Raises:
        InvalidInputError: it cannot be written, or what comes is no archive.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    local = Local(write=lambda data: _write_all(writer, data))
    async with _beside(lambda: _unpack(folder, reader, local.skipped)):
        try:
            yield local
        finally:
            os.close(writer)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _unpack(folder: Path, reader: int, skipped: dict[str, str]) -> None:
    def chosen(member: tarfile.TarInfo, place: str) -> tarfile.TarInfo | None:
        try:
            return tarfile.data_filter(member, place)
        except tarfile.FilterError as exc:
            skipped[member.name] = str(exc)
            return None

    with open(reader, "rb") as source, naming(folder):
        if not source.peek(1):
            return  # nothing came, and nothing is made for it
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tarfile.open(mode="r|", fileobj=source) as tar:
                tar.extractall(folder, filter=chosen)  # noqa: S202 - that is what the filter is for
            while source.read(PIECE_BYTES):
                pass  # what stands behind the end of an archive
        except tarfile.TarError as exc:
            raise InvalidInputError(
                f"not an archive that can be unpacked: {exc}", source=str(folder)
            ) from exc
