"""Folders of layers on disk, which may hold anything: read without following a link, and copied.

Blocking throughout; meant for threads.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from sandbox_daemon.workspaces.entries import Entry, Folder, Kind, Merged, Node, walk

_OPAQUE: Final = "trusted.overlay.opaque"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE: Final = 1 << 20
_NO_REFLINK: Final = frozenset({errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})
_KINDS: Final = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.FOLDER,
    stat.S_IFLNK: Kind.LINK,
    stat.S_IFIFO: Kind.FIFO,
}


class DiskFolder:
    """An open folder on disk."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def at(cls, path: Path) -> DiskFolder:
        """The folder at a path of ours."""
        return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    @property
    def opaque(self) -> bool:
        """Whether it hides folders of its name below."""
        try:
            return os.getxattr(self.descriptor, _OPAQUE) == b"y"
        except OSError:
            return False

    def entries(self) -> dict[bytes, Entry]:
        """What is in it."""
        return {os.fsencode(name): self._entry(name) for name in os.listdir(self.descriptor)}

    def _entry(self, name: str) -> Entry:
        status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        target = b""
        if stat.S_ISLNK(status.st_mode):
            target = os.fsencode(os.readlink(name, dir_fd=self.descriptor))
        return entry_of(status, target)

    def look(self) -> Entry:
        """How the folder itself looks."""
        return entry_of(os.fstat(self.descriptor))

    def open(self, name: bytes) -> DiskFolder:
        """One of its folders."""
        return DiskFolder(os.open(name, _FOLDER, dir_fd=self.descriptor))

    def read(self, name: bytes) -> int:
        """A descriptor of one of its files."""
        descriptor = os.open(name, _READ, dir_fd=self.descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.ESTALE, "a file is none any more")
        return descriptor

    def close(self) -> None:
        """Gives it up."""
        os.close(self.descriptor)


def entry_of(status: os.stat_result, target: bytes = b"") -> Entry:
    """What ``lstat`` says."""
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), Kind.OTHER)
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        kind = Kind.WHITEOUT
    linked = status.st_nlink > 1 and kind is not Kind.FOLDER
    return Entry(
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        size=status.st_size if kind is Kind.FILE else 0,
        mtime_ns=status.st_mtime_ns,
        target=target,
        identity=(status.st_dev, status.st_ino) if linked else None,
    )


@contextlib.contextmanager
def open_layers(paths: Sequence[Path], *, whole: bool) -> Iterator[tuple[Merged, DiskFolder]]:
    """Layers, from top to bottom, as one folder, and the topmost alone.

    Args:
        paths: of their folders.
        whole: nothing lies below them.
    """
    with contextlib.ExitStack() as stack:
        folders = []
        for path in paths:
            folders.append(DiskFolder.at(path))
            stack.callback(folders[-1].close)
        yield Merged(folders, cut=whole), folders[0]


def data_ranges(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Offset and length of what is not a hole in a file, within its first ``size`` bytes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data any more
                return
            raise
        end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        if start < end:
            yield start, end - start


def copy_layers(
    paths: Sequence[Path],
    target: Path,
    *,
    owner: int | None,
    whole: bool,
    note: Callable[[Node], None] | None = None,
) -> None:
    """Copies what layers show into an empty folder. ``OSError``, ``TooDeepError``.

    Sparse files stay sparse, hard links links; where the file system can, content is shared (reflink).
    Sockets and devices are left out.

    Args:
        paths: of the layers' folders, from top to bottom.
        target: a folder of ours.
        owner: of what is made; ``None``: ours.
        whole: nothing lies below the layers. Else the copy is a layer like them: it has whiteouts.
        note: hears of each node, before it is copied.
    """
    with open_layers(paths, whole=whole) as (merged, top):
        root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _Copy(root, owner).run(merged, top, note)
        finally:
            os.close(root)


class _Copy:
    """One copy under way. Nobody else writes to its target."""

    def __init__(self, root: int, owner: int | None) -> None:
        self._root = root
        self._owner = owner
        self._first: dict[tuple[int, int], bytes] = {}
        self._folders: list[tuple[bytes, Entry]] = []

    def run(self, merged: Merged, top: DiskFolder, note: Callable[[Node], None] | None) -> None:
        for node in walk(merged):
            if note is not None:
                note(node)
            self._make(node)
        for path, entry in reversed(self._folders):
            self._finish(path, entry)
        look = top.look()
        os.fchmod(self._root, look.mode)
        os.utime(self._root, ns=(look.mtime_ns, look.mtime_ns))

    def _make(self, node: Node) -> None:
        entry, path = node.entry, node.path
        if entry.identity is not None and entry.kind is not Kind.WHITEOUT:
            first = self._first.setdefault(entry.identity, path)
            if first != path:
                os.link(first, path, src_dir_fd=self._root, dst_dir_fd=self._root, follow_symlinks=False)
                return
        match entry.kind:
            case Kind.FILE:
                self._copy_file(node)
            case Kind.FOLDER:
                os.mkdir(path, 0o700, dir_fd=self._root)
                if node.opaque:
                    self._set_opaque(path)
                self._folders.append((path, entry))
                return
            case Kind.LINK:
                os.symlink(entry.target, path, dir_fd=self._root)
            case Kind.FIFO:
                os.mkfifo(path, dir_fd=self._root)
            case Kind.WHITEOUT:
                os.mknod(path, stat.S_IFCHR, 0, dir_fd=self._root)
                return
            case Kind.OTHER:
                return
        self._finish(path, entry)

    def _copy_file(self, node: Node) -> None:
        source = node.holder.read(node.name)
        try:
            target = os.open(node.path, _CREATE, 0o600, dir_fd=self._root)
            try:
                copy_content(source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _set_opaque(self, path: bytes) -> None:
        descriptor = os.open(path, _FOLDER, dir_fd=self._root)
        try:
            os.setxattr(descriptor, _OPAQUE, b"y")
        finally:
            os.close(descriptor)

    def _finish(self, path: bytes, entry: Entry) -> None:
        if self._owner is not None:
            os.chown(path, self._owner, self._owner, dir_fd=self._root, follow_symlinks=False)
        if entry.kind is not Kind.LINK:
            os.chmod(path, entry.mode, dir_fd=self._root)  # after the owner: that takes set-id bits away
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(path, ns=times, dir_fd=self._root, follow_symlinks=False)


def copy_content(source: int, target: int) -> None:
    """Copies a file, holes as holes."""
    size = os.fstat(source).st_size
    os.truncate(target, size)
    for start, length in data_ranges(source, size):
        _copy_range(source, target, start, length)


def _copy_range(source: int, target: int, start: int, length: int) -> None:
    end = start + length
    try:
        while start < end:
            copied = os.copy_file_range(source, target, end - start, start, start)
            if copied == 0:
                return  # it shrank
            start += copied
    except OSError as error:
        if error.errno not in _NO_REFLINK:
            raise
        _copy_bytes(source, target, start, end)


def _copy_bytes(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        piece = os.pread(source, min(_PIECE, end - start), start)
        if not piece:
            return
        start += os.pwrite(target, piece, start)


def same_content(one: Folder, other: Folder, name: bytes) -> bool:
    """Whether the files of that name in two folders hold the same bytes."""
    first, second = one.read(name), other.read(name)
    try:
        offset = 0
        while True:
            piece = os.pread(first, _PIECE, offset)
            if piece != os.pread(second, _PIECE, offset):
                return False
            if not piece:
                return True
            offset += len(piece)
    finally:
        os.close(first)
        os.close(second)
