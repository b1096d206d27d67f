"""Deleting what a slot has left, which may be anything: 10,000 levels deep, unreadable, full of links.

No path is ever followed: every step is relative to an open folder and refuses symbolic links. Depth costs
neither stack nor descriptors, and width no memory: a subfolder is renamed into a folder for rubble and
emptied there in its turn.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_counter = itertools.count()


def delete_tree(parent: int, name: str, *, rubble: int) -> None:
    """Deletes ``name`` in the open folder ``parent``. Blocking.

    Args:
        parent: must be ours alone.
        name: of a folder, or of anything else.
        rubble: an open folder of the same file system, ours alone too; it is empty afterwards.
    """
    _delete(parent, name, rubble)
    clear_rubble(rubble)


def clear_rubble(rubble: int) -> None:
    """Deletes what lies there, and what that brings up, until nothing is left. Blocking."""
    found = True
    while found:  # what is added to a folder while it is read need not be seen by that reading
        found = False
        with os.scandir(rubble) as entries:
            for entry in entries:
                found = True
                _delete(rubble, entry.name, rubble)


def _delete(parent: int, name: str, rubble: int) -> None:
    if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=parent)
        return
    _permit(parent, name)
    while True:
        _empty(parent, name, rubble)
        try:
            os.rmdir(name, dir_fd=parent)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            continue  # some file systems skip entries of a folder that shrinks while it is read
        return


def _empty(parent: int, name: str, rubble: int) -> None:
    """Unlinks the files of a folder and moves its subfolders to the rubble."""
    folder = os.open(name, _FOLDER, dir_fd=parent)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _lift(folder, entry.name, rubble)
                else:
                    os.unlink(entry.name, dir_fd=folder)
    finally:
        os.close(folder)


def _lift(folder: int, name: str, rubble: int) -> None:
    """An empty folder goes at once."""
    try:
        os.rmdir(name, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        _permit(folder, name)
        os.rename(name, f"{os.getpid()}-{next(_counter)}", src_dir_fd=folder, dst_dir_fd=rubble)


def _permit(folder: int, name: str) -> None:
    """Moving and emptying a folder needs its owner's bits. Nobody else is here to swap it for a link."""
    os.chmod(name, 0o700, dir_fd=folder)
