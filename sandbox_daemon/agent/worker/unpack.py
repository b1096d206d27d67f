"""Unpacking an archive as it comes, into a folder. Runs in the slot.

Names that would lead out of the folder are left out and told, as is what is no file, folder or link. Every
step is relative to a folder that was opened beneath the one above it, so a link in the archive, or one that
stood there before, leads nowhere.
"""

from __future__ import annotations

import contextlib
import os
import tarfile

from sandbox_daemon.agent import paths
from sandbox_daemon.agent.worker.incoming import Exact, Incoming
from sandbox_daemon.agent.worker.listing import write_all
from sandbox_daemon.agent.worker.told import Skipped, refuse, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE_BYTES = 1 << 20


class _Folder:
    """The place, and what is put there."""

    def __init__(self, descriptor: int, skipped: Skipped) -> None:
        self._root = descriptor
        self._skipped = skipped
        self._folders: dict[bytes, tuple[int, float]] = {}
        self.count = 0

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        name = os.fsencode(member.name)
        parts = _parts(name)
        if parts is None:
            self._skipped.note(name, "leads out of the folder")
        elif parts or member.isdir():
            try:
                self._add(tar, member, parts)
            except (OSError, KeyError) as error:
                why = os.strerror(error.errno or 0).lower() if isinstance(error, OSError) else "no such name"
                if isinstance(error, OSError) and paths.is_full(error.errno or 0):
                    raise
                self._skipped.note(b"/".join(parts), why)

    def _add(self, tar: tarfile.TarFile, member: tarfile.TarInfo, parts: list[bytes]) -> None:
        if member.isdir():
            with self._entered(parts):
                self._folders[b"/".join(parts)] = (member.mode & 0o777, member.mtime)
            self.count += 1
            return
        with self._entered(parts[:-1]) as folder:
            if member.isreg():
                self._put_file(tar, member, parts[-1], folder)
            elif member.issym():
                _clear(parts[-1], folder)
                os.symlink(os.fsencode(member.linkname), parts[-1], dir_fd=folder)
            elif member.islnk():
                self._link(member, parts[-1], folder)
            else:
                self._skipped.note(b"/".join(parts), "not a file, folder or link")
                return
        self.count += 1

    def _put_file(self, tar: tarfile.TarFile, member: tarfile.TarInfo, name: bytes, folder: int) -> None:
        _clear(name, folder)
        content = tar.extractfile(member)
        assert content is not None
        descriptor = os.open(name, _CREATE, 0o600, dir_fd=folder)
        try:
            _copy(content, descriptor)
            os.fchmod(descriptor, member.mode & 0o777)
            os.utime(descriptor, (member.mtime, member.mtime))
        finally:
            os.close(descriptor)

    def _link(self, member: tarfile.TarInfo, name: bytes, folder: int) -> None:
        target = _parts(os.fsencode(member.linkname))
        if not target:
            self._skipped.note(name, "links to what is outside of the folder")
            return
        with self._entered(target[:-1]) as source:
            _clear(name, folder)
            os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)

    @contextlib.contextmanager
    def _entered(self, parts: list[bytes]) -> Iterator[int]:
        """The folder of this path, made if need be, open meanwhile."""
        folder = os.dup(self._root)
        try:
            for part in parts:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=folder)
                below = os.open(part, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = below
            yield folder
        finally:
            os.close(folder)

    def finish(self) -> None:
        """Modes and times of folders: last, because what is put into them changes both."""
        for path in sorted(self._folders, reverse=True):
            mode, mtime = self._folders[path]
            with (
                contextlib.suppress(OSError),
                self._entered([part for part in path.split(b"/") if part]) as at,
            ):
                os.fchmod(at, int(mode))
                os.utime(at, (mtime, mtime))


def _parts(name: bytes) -> list[bytes] | None:
    """The path's components; ``None`` when it leads out."""
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    return None if name.startswith(b"/") or b".." in parts else parts


def _clear(name: bytes, folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _copy(content: IO[bytes], descriptor: int) -> None:
    while piece := content.read(_PIECE_BYTES):
        write_all(descriptor, piece)


def unpack_tree(workspace: paths.Workspace, *, path: bytes) -> None:
    """What comes is an archive; what it holds is put into the folder, over what is there."""
    incoming, skipped = Incoming(), Skipped()
    handle = workspace.make_directory(path)
    root = os.open(b".", _FOLDER, dir_fd=handle)
    folder = _Folder(root, skipped)
    source = Exact(incoming.piece)
    try:
        with tarfile.open(mode="r|", fileobj=source, format=tarfile.PAX_FORMAT) as tar:
            for member in tar:
                folder.add(tar, member)
                tar.members = []  # type: ignore[attr-defined]  # else all of them are remembered
        while source.read(_PIECE_BYTES):
            pass  # what stands behind the end of an archive
    except tarfile.TarError as error:
        while source.read(_PIECE_BYTES):
            pass
        refuse(f"it is no archive that can be unpacked: {error}")
        return
    folder.finish()
    if incoming.check():
        say("written", incoming.size)
        say("sha256", incoming.sha256)
        say("entries", folder.count)
        skipped.tell()
