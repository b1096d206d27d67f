"""Walking a tree of the workspace without following a link: in the order of names, and from any place on.

Each folder is opened beneath the one above it with ``O_NOFOLLOW``, so that nothing that is swapped meanwhile
leads out. Pages need no memory here: the order is that of the paths' components, so whoever says how far he
got is told what comes after it.
"""

from __future__ import annotations

import errno
import os
import stat

from sandbox_daemon.agent import paths, protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox_daemon.agent.worker.told import Skipped

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
MAX_DEPTH = 256
"""Folders in folders; each costs a descriptor while what is in it is looked at."""


class Entry:
    """One name in a folder.

    ``path`` is relative to the workspace; ``folder`` is a descriptor that is open while the walk is here.
    """

    def __init__(self, path: bytes, name: bytes, folder: int, is_folder: bool) -> None:
        self.path = path
        self.name = name
        self.folder = folder
        self.is_folder = is_folder

    def status(self) -> os.stat_result:
        """Of the entry itself, not of what a link points to."""
        return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)

    def open(self) -> int:
        """To read it, if it is a regular file; ``OSError`` if it is none."""
        descriptor = os.open(self.name, _FILE, dir_fd=self.folder)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")


class Place:
    """Where a walk starts: a folder, open, and its path relative to the workspace, ``b""`` for all of it."""

    def __init__(self, workspace: paths.Workspace, path: bytes) -> None:
        handle = workspace.open_anything(path)
        try:
            if not stat.S_ISDIR(os.fstat(handle).st_mode):
                raise paths.PathError(protocol.REASON_NOT_DIRECTORY, errno.ENOTDIR)
            try:
                self.descriptor = os.open(b".", _FOLDER, dir_fd=handle)
            except OSError as error:
                raise paths.PathError(protocol.REASON_OS, error.errno or 0) from None
        finally:
            os.close(handle)
        self.path = workspace.spelled(path)

    def close(self) -> None:
        """It is not needed any more."""
        os.close(self.descriptor)


def walk(place: Place, skipped: Skipped, *, recursive: bool, after: bytes = b"") -> Iterator[Entry]:
    """What is in a place, folders before what is in them; only what comes after the path ``after``."""
    behind = after.split(b"/") if after else []
    levels = [_level(place.path, place.descriptor, behind)]
    folders: list[int] = []
    try:
        while levels:
            entry = next(levels[-1], None)
            if entry is None:
                levels.pop()
                if folders:
                    os.close(folders.pop())
                continue
            parts = entry.path.split(b"/")
            if parts > behind:
                yield entry
            if entry.is_folder and recursive and not _is_behind(parts, behind):
                descriptor = _entered(entry, len(levels), skipped)
                if descriptor >= 0:
                    folders.append(descriptor)
                    levels.append(_level(entry.path, descriptor, behind))
    finally:
        for descriptor in folders:
            os.close(descriptor)


def _is_behind(parts: list[bytes], behind: list[bytes]) -> bool:
    """Whether everything in that folder was told before."""
    return parts < behind[: len(parts)]


def _entered(entry: Entry, depth: int, skipped: Skipped) -> int:
    if depth >= MAX_DEPTH:
        skipped.note(entry.path, "too deep")
        return -1
    try:
        return os.open(entry.name, _FOLDER, dir_fd=entry.folder)
    except OSError as error:
        skipped.note(entry.path, os.strerror(error.errno or 0).lower())
        return -1


def _level(path: bytes, descriptor: int, behind: list[bytes]) -> Iterator[Entry]:
    """The entries of one folder that may have something to tell, in order."""
    prefix = path + b"/" if path else b""
    first = b""
    if behind[: prefix.count(b"/")] == prefix.split(b"/")[:-1]:
        first = b"".join(behind[prefix.count(b"/") :][:1])
    with os.scandir(descriptor) as found:
        names = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in found]
    names.sort()
    for name, is_folder in names:
        if name >= first:
            yield Entry(prefix + name, name, descriptor, is_folder)
