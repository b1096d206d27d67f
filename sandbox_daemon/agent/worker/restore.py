"""A workspace's archive, put into the workspace as it comes. Runs in the slot.

The workspace is as its base is. Nothing is left out, as unpacking does it: the first thing that is not right
ends the whole, and the daemon then makes the workspace anew. Every step is relative to a folder that was
opened beneath the one above it without following a link, so no name leads out.
"""

from __future__ import annotations

import contextlib
import os
import stat

from sandbox_daemon.agent import members, paths, protocol
from sandbox_daemon.agent.members import Member, MemberError, MemberReader, shown
from sandbox_daemon.agent.worker.incoming import Exact
from sandbox_daemon.agent.worker.told import refuse, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_STDIN = 0
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_BYTES = 1 << 20
_ROOT = b"."


def _piece() -> bytes:
    return os.read(_STDIN, _READ_BYTES)


class _Tree:
    """The workspace, and what is put there."""

    def __init__(self, root: int, reader: MemberReader) -> None:
        self._root = root
        self._reader = reader
        self._folders: dict[bytes, Member] = {}
        self._at: tuple[bytes, int] = (b"", os.dup(root))  # the folder of the last member, and where it is

    def put(self, member: Member) -> None:
        """One member. ``OSError``, :class:`MemberError`."""
        if member.name == _ROOT:
            if member.kind != members.FOLDER:
                raise MemberError("its root is no folder")
            self._folders[b""] = member
            return
        parent, _, name = member.name.rpartition(b"/")
        folder = self._enter(parent)
        if member.kind == members.FOLDER:
            self._make_folder(member, name, folder)
            return
        _remove(name, folder)
        if member.kind == members.FILE:
            self._write(member, name, folder)
        elif member.kind == members.HARD:
            source, _, first = member.target.rpartition(b"/")
            with self._opened(source) as held:
                os.link(first, name, src_dir_fd=held, dst_dir_fd=folder, follow_symlinks=False)
        elif member.kind == members.LINK:
            os.symlink(member.target, name, dir_fd=folder)
            _set_time(member, name, folder)
        elif member.kind == members.FIFO:
            os.mkfifo(name, dir_fd=folder)
            os.chmod(name, member.mode, dir_fd=folder)
            _set_time(member, name, folder)

    def _make_folder(self, member: Member, name: bytes, folder: int) -> None:
        self._folders[member.name] = member
        found = _look(name, folder)
        if found is not None and stat.S_ISDIR(found.st_mode) and not member.opaque:
            os.chmod(name, 0o700, dir_fd=folder)
            return
        _remove(name, folder)
        os.mkdir(name, 0o700, dir_fd=folder)

    def _write(self, member: Member, name: bytes, folder: int) -> None:
        descriptor = os.open(name, _CREATE, 0o600, dir_fd=folder)
        try:
            for offset, piece in self._reader.content(member):
                view = memoryview(piece)
                while view:
                    written = os.pwrite(descriptor, view, offset)
                    view, offset = view[written:], offset + written
            os.ftruncate(descriptor, member.size)
            _finish(member, descriptor)
        finally:
            os.close(descriptor)

    def _enter(self, parent: bytes) -> int:
        """The folder of that path, which stays open until another is entered."""
        if parent != self._at[0]:
            folder = self._open(parent)
            os.close(self._at[1])
            self._at = parent, folder
        return self._at[1]

    @contextlib.contextmanager
    def _opened(self, parent: bytes) -> Iterator[int]:
        folder = self._open(parent)
        try:
            yield folder
        finally:
            os.close(folder)

    def _open(self, path: bytes) -> int:
        folder = os.dup(self._root)
        for part in path.split(b"/") if path else ():
            try:
                below = os.open(part, _FOLDER, dir_fd=folder)
            finally:
                os.close(folder)
            folder = below
        return folder

    def finish(self) -> None:
        """Modes and times of folders: last, because what is put into them changes both."""
        for path in sorted(self._folders, reverse=True):
            with self._opened(path) as folder:
                _finish(self._folders[path], folder)


def _finish(member: Member, descriptor: int) -> None:
    for name, value in member.xattrs.items():
        os.setxattr(descriptor, name, value)
    os.fchmod(descriptor, member.mode)
    os.utime(descriptor, ns=(member.mtime_ns, member.mtime_ns))


def _set_time(member: Member, name: bytes, folder: int) -> None:
    os.utime(name, ns=(member.mtime_ns, member.mtime_ns), dir_fd=folder, follow_symlinks=False)


def _look(name: bytes, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _remove(name: bytes, folder: int) -> None:
    """A file, or a folder with all that is in it, if it is there."""
    found = _look(name, folder)
    if found is None:
        return
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=folder)
        return
    os.chmod(name, 0o700, dir_fd=folder)
    inner = os.open(name, _FOLDER, dir_fd=folder)
    try:
        for below in os.listdir(inner):
            _remove(os.fsencode(below), inner)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=folder)


def restore_tree(workspace: paths.Workspace, *, max_entries: int, max_content: int) -> None:
    """What comes is the tar file of an archive; what is in it is put into the workspace."""
    reader = MemberReader(Exact(_piece).read)
    tree = _Tree(os.open(_ROOT, _FOLDER, dir_fd=workspace.descriptor), reader)
    count = 0
    name = b""
    try:
        for member in reader.members():
            count += 1
            name = member.name
            max_content -= member.stored_bytes()
            if count > max_entries or max_content < 0:
                raise paths.PathError(protocol.REASON_TOO_LARGE)
            tree.put(member)
        tree.finish()
    except MemberError as error:
        refuse(str(error))
    except OSError as error:
        if paths.is_full(error.errno or 0):
            raise
        refuse(f"{shown(name)} cannot be made: {os.strerror(error.errno or 0).lower()}")
    except RecursionError:
        refuse(f"{shown(name)} cannot be made: folders lie too deep in each other")
    say("entries", count)
