"""Deleting what a slot has left, which may be anything: 10,000 levels deep, unreadable, full of links.

No path is ever followed: every step is relative to an open folder and refuses symbolic links. Depth costs
neither stack nor descriptors: a subfolder is renamed up beside the tree and emptied there in its turn.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_counter = itertools.count()


def delete_tree(parent: int, name: str) -> None:
    """Deletes ``name`` in the open folder ``parent``, which must be ours alone. Blocking.

    Subfolders appear beside it under names of their own while it is at work.
    """
    pending = [name]
    while pending:
        name = pending.pop()
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            moved = _empty(parent, name)
            try:
                os.rmdir(name, dir_fd=parent)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
                pending.append(
                    name
                )  # some file systems skip entries of a folder that shrinks while it is read
            pending.extend(moved)
        else:
            os.unlink(name, dir_fd=parent)


def _empty(parent: int, name: str) -> list[str]:
    """Unlinks the files of a folder and moves its subfolders beside it; returns their new names."""
    _permit(parent, name)
    moved = []
    folder = os.open(name, _FOLDER, dir_fd=parent)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    moved.append(_lift(folder, entry.name, parent))
                else:
                    os.unlink(entry.name, dir_fd=folder)
    finally:
        os.close(folder)
    return moved


def _lift(folder: int, name: str, parent: int) -> str:
    _permit(folder, name)
    lifted = f"lifted-{os.getpid()}-{next(_counter)}"
    os.rename(name, lifted, src_dir_fd=folder, dst_dir_fd=parent)
    return lifted


def _permit(folder: int, name: str) -> None:
    """Moving and emptying a folder needs its owner's bits. Nobody else is here to swap it for a link."""
    os.chmod(name, 0o700, dir_fd=folder)
