"""A place where slots' folders lie, and where what is thrown away of them is deleted.

::

    slots/3/      workspace/ (and tmp/ below level ns), both the slot's own; work/ is an overlay's
    trash/        what is thrown away; a reset only renames into it
    rubble/       pieces of what is being deleted; there may be a million of them

The data directory is one; each volume is one of its own, with one slot in it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from sandbox_daemon.slots.trash import clear_rubble, delete_tree

_FOLDERS = ("slots", "trash", "rubble")
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Ground:
    """Slots' folders and their trash, all on one file system.

    Args:
        root: a folder that is ours alone.
        mark: makes names in the trash unique among all who have used it.
    """

    def __init__(self, root: Path, mark: str) -> None:
        self.root = root
        self._mark = mark
        for name in _FOLDERS:
            (root / name).mkdir(mode=0o711, exist_ok=True)
            (root / name).chmod(0o711)
        self._discarded = 0
        self._deleted = -len(os.listdir(root / "trash"))  # of a daemon that was killed
        self._swept = False

    def folder(self, slot: str) -> Path:
        """A slot's folder."""
        return self.root / "slots" / slot

    def make(self, slot: str, uid: int | None) -> None:
        """A fresh, empty folder for a slot, its own when it has a uid."""
        folder = self.folder(slot)
        folder.mkdir(mode=0o711)
        folder.chmod(0o711)
        for name in ("workspace", "tmp"):
            (folder / name).mkdir(mode=0o700)
            if uid is not None:
                os.chown(folder / name, uid, uid)

    def prepare_overlay(self, slot: str) -> None:
        """The folder beside the workspace that an overlay needs; out of the slot's sight and reach."""
        (self.folder(slot) / "work").mkdir(mode=0o700, exist_ok=True)

    def is_empty(self, slot: str) -> bool:
        """Whether the slot has written nothing: a file that was removed from a layer is something."""
        with os.scandir(self.folder(slot) / "workspace") as entries:
            return next(entries, None) is None

    def mend(self, slot: str) -> None:
        """Opens or makes again what a slot has closed or removed of its own; no agent could start there."""
        for name in ("workspace", "tmp"):
            path = self.folder(slot) / name
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)  # only at level none can it be gone, and there is no uid to give it to
            descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
                os.chmod(f"/proc/self/fd/{descriptor}", mode | 0o700)
            finally:
                os.close(descriptor)

    def discard(self, path: Path) -> None:
        """Takes something out of sight at once; :meth:`empty_trash` deletes it."""
        with contextlib.suppress(FileNotFoundError):
            path.rename(self.root / "trash" / f"{self._mark}-{self._discarded}")
            self._discarded += 1

    def empty_trash(self) -> None:
        """Deletes what is in the trash. Blocking and possibly long."""
        if self._swept and not self.trash_count:
            return
        self._swept = True
        with contextlib.ExitStack() as stack:
            trash, rubble = (os.open(self.root / name, _OPEN_FOLDER) for name in ("trash", "rubble"))
            for descriptor in (trash, rubble):
                stack.callback(os.close, descriptor)
            clear_rubble(rubble)  # of a daemon that was killed
            for name in os.listdir(trash):
                delete_tree(trash, name, rubble=rubble)
                self._deleted += 1

    @property
    def trash_count(self) -> int:
        """How many trees wait to be deleted. Each of its counters has one writer: the loop, and the trash."""
        return self._discarded - self._deleted
