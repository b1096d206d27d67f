"""The data directory: who holds it, the slots' folders, and the trash.

::

    lock          flock of the living daemon
    epoch         how many daemons have lived here
    etc/          the slots' /etc
    agents/       which agents run, for the next daemon to end those that a killed one left
    slots/3/      workspace/ (and tmp/ below level ns), both the slot's own
    trash/        what is thrown away; a reset only renames into it
    rubble/       pieces of what is being deleted; there may be a million of them

What a daemon that was killed left behind is renamed into the trash by the next and deleted there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from hermes_trio.errors import UnavailableError
from sandbox_daemon.slots.ledger import Ledger
from sandbox_daemon.slots.trash import clear_rubble, delete_tree

_FOLDERS = ("slots", "trash", "rubble", "agents")
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class DataDirectory:
    """A data directory that this daemon holds. Made by :func:`hold_data_directory`."""

    def __init__(self, root: Path, epoch: int) -> None:
        self.root = root
        self.epoch = epoch
        self.etc = root / "etc"
        self.ledger = Ledger(root / "agents")
        self._counter = 0

    def __repr__(self) -> str:
        return f"<DataDirectory {self.root} epoch {self.epoch}>"

    def workspace(self, slot: str) -> Path:
        """Where a slot's workspace is."""
        return self.root / "slots" / slot / "workspace"

    def make_slot(self, slot: str, uid: int | None) -> None:
        """A fresh, empty folder for a slot, its own when it has a uid."""
        folder = self.root / "slots" / slot
        folder.mkdir(mode=0o711)
        folder.chmod(0o711)
        for name in ("workspace", "tmp"):
            (folder / name).mkdir(mode=0o700)
            if uid is not None:
                os.chown(folder / name, uid, uid)

    def mend_slot(self, slot: str) -> None:
        """Opens or makes again what a slot has closed or removed of its own; no agent could start there."""
        for name in ("workspace", "tmp"):
            path = self.root / "slots" / slot / name
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)  # only at level none can it be gone, and there is no uid to give it to
            descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
                os.chmod(f"/proc/self/fd/{descriptor}", mode | 0o700)
            finally:
                os.close(descriptor)

    def discard_slot(self, slot: str) -> None:
        """Takes a slot's folder out of sight at once; :meth:`empty_trash` deletes it."""
        self._discard(self.root / "slots" / slot)

    def discard_leftovers(self) -> None:
        """Everything of earlier lives."""
        self.ledger.end_leftovers()
        for path in (*(self.root / "slots").iterdir(), self.etc):
            self._discard(path)

    def empty_trash(self) -> None:
        """Deletes what is in the trash. Blocking and possibly long."""
        with contextlib.ExitStack() as stack:
            trash, rubble = (os.open(self.root / name, _OPEN_FOLDER) for name in ("trash", "rubble"))
            for descriptor in (trash, rubble):
                stack.callback(os.close, descriptor)
            clear_rubble(rubble)  # of a daemon that was killed
            for name in os.listdir(trash):
                delete_tree(trash, name, rubble=rubble)

    def trash_count(self) -> int:
        """How many trees wait to be deleted."""
        return len(os.listdir(self.root / "trash"))

    def _discard(self, path: Path) -> None:
        self._counter += 1
        with contextlib.suppress(FileNotFoundError):
            path.rename(self.root / "trash" / f"{self.epoch}-{self._counter}")


@contextlib.contextmanager
def hold_data_directory(root: Path) -> Iterator[DataDirectory]:
    """Takes the directory for this daemon as long as the context is open.

    Raises:
        UnavailableError: another live daemon holds it, or it is not ours to use.
    """
    root = root.absolute()
    try:
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        _check_owner(root)
        descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UnavailableError(f"The data directory {root} cannot be used: {error.strerror}.") from error
    try:
        _lock(descriptor, root)
        yield _opened(root)
    finally:
        os.close(descriptor)


def _check_owner(root: Path) -> None:
    status = root.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise UnavailableError(
            f"The data directory {root} is not a directory of this user.",
            mend="Choose another with --data-dir.",
        )
    if os.geteuid() == 0:
        root.chmod(
            stat.S_IMODE(status.st_mode) | 0o011
        )  # the slots' uids pass through, without seeing what is here


def _lock(descriptor: int, root: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UnavailableError(
            f"The data directory {root} is held by another live daemon.",
            mend="Give each daemon its own --data-dir.",
        ) from None


def _opened(root: Path) -> DataDirectory:
    for name in _FOLDERS:
        (root / name).mkdir(mode=0o711, exist_ok=True)
        (root / name).chmod(0o711)
    path = root / "epoch"
    try:
        epoch = int(path.read_text()) + 1
    except (FileNotFoundError, ValueError):
        epoch = 1
    temporary = root / "epoch.new"
    temporary.write_text(f"{epoch}\n")
    temporary.replace(path)
    directory = DataDirectory(root, epoch)
    directory.discard_leftovers()
    return directory
