"""Making an archive of a tree, as a stream. Runs in the slot.

Folders, files, symbolic links and hard links go in, with modes and times. What cannot be in an archive or
cannot be read is left out and named: FIFOs, sockets, devices, files of mode 0. A file is as long as it was
when it was opened: what it loses meanwhile is zeros, what it gains is not there.
"""

from __future__ import annotations

import gzip
import os
import stat
import tarfile

from sandbox_daemon.agent import paths, protocol
from sandbox_daemon.agent.worker.listing import write_all
from sandbox_daemon.agent.worker.told import Skipped, say
from sandbox_daemon.agent.worker.walk import Entry, Place, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, cast  # noqa: F401 - named in the texts of casts
else:

    def cast(_kind: object, value: object) -> object:
        """The real one is slow to import."""
        return value


_STDOUT = 1
_GZIP_LEVEL = 6


class _Out:
    """Standard output, counted. ``PathError`` when it would be too much."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.written = 0

    def write(self, data: bytes) -> int:
        self.written += len(data)
        if self.written > self._max_bytes:
            raise paths.PathError(protocol.REASON_TOO_LARGE, size=self.written)
        write_all(_STDOUT, data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


class _Content:
    """A file that is exactly as long as it was said to be."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, size: int) -> bytes:
        data = os.read(self._descriptor, size)
        return data + bytes(size - len(data)) if len(data) < size else data


class _Archive:
    """The archive under way."""

    def __init__(self, tar: tarfile.TarFile, skipped: Skipped, *, max_entries: int, max_content: int) -> None:
        self._tar = tar
        self._skipped = skipped
        self._max_entries = max_entries
        self._left = max_content
        self._first_names: dict[tuple[int, int], str] = {}
        self.count = 0

    def add(self, entry: Entry, name: bytes) -> None:
        """One entry, or a note why not."""
        try:
            self._add(entry, os.fsdecode(name))
        except OSError as error:
            self._skipped.note(entry.path, os.strerror(error.errno or 0).lower())

    def _add(self, entry: Entry, name: str) -> None:
        status = entry.status()
        info = _header(name, status)
        if stat.S_ISREG(status.st_mode):
            self._add_file(entry, info, status)
        elif stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
            self._put(info)
        elif stat.S_ISLNK(status.st_mode):
            info.type = tarfile.SYMTYPE
            info.linkname = os.fsdecode(os.readlink(entry.name, dir_fd=entry.folder))
            self._put(info)
        else:
            self._skipped.note(entry.path, "not a file, folder or link")

    def _add_file(self, entry: Entry, info: tarfile.TarInfo, status: os.stat_result) -> None:
        identity = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and identity in self._first_names:
            info.type, info.linkname = tarfile.LNKTYPE, self._first_names[identity]
            self._put(info)
            return
        descriptor = entry.open()
        try:
            info.size = os.fstat(descriptor).st_size
            self._left -= info.size
            if self._left < 0:
                raise paths.PathError(protocol.REASON_TOO_LARGE, size=info.size)
            self._put(info, descriptor)
        finally:
            os.close(descriptor)
        if status.st_nlink > 1:
            self._first_names[identity] = info.name

    def _put(self, info: tarfile.TarInfo, descriptor: int = -1) -> None:
        self.count += 1
        if self.count > self._max_entries:
            raise paths.PathError(protocol.REASON_TOO_MANY, size=self._max_entries)
        content = cast("IO[bytes]", _Content(descriptor)) if descriptor >= 0 else None
        self._tar.addfile(info, content)


def _header(name: str, status: os.stat_result) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode = stat.S_IMODE(status.st_mode)
    info.mtime = status.st_mtime
    info.uid, info.gid = status.st_uid, status.st_gid
    return info


def pack_tree(
    workspace: paths.Workspace,
    *,
    path: bytes,
    gzipped: bool,
    bare: bool,
    max_entries: int,
    max_bytes: int,
    max_content: int,
) -> None:
    """The archive on standard output.

    Its names are relative to the workspace, or where ``bare``, to the folder that is packed. ``max_content``
    bounds the sizes of the files together, sparse or not: nobody may be made to pack a terabyte of nothing.
    """
    out, skipped = _Out(max_bytes), Skipped()
    place = Place(workspace, path)
    stream = cast("IO[bytes]", out)
    packed = gzip.GzipFile("", "wb", _GZIP_LEVEL, stream, mtime=0) if gzipped else stream
    with tarfile.open(mode="w|", fileobj=cast("IO[bytes]", packed), format=tarfile.PAX_FORMAT) as tar:
        archive = _Archive(tar, skipped, max_entries=max_entries, max_content=max_content)
        start = len(place.path) + 1 if bare and place.path else 0
        for entry in walk(place, skipped, recursive=True):
            archive.add(entry, entry.path[start:])
    if gzipped:
        packed.close()
    say("entries", archive.count)
    skipped.tell()
