"""The data directory: who holds it, the slots' folders, their volumes, and the trash.

::

    lock          flock of the living daemon
    epoch         how many daemons have lived here
    etc/          the slots' /etc
    agents/       which agents run, for the next daemon to end those that a killed one left
    volumes/      files of volumes, for the moment in which they have a name
    slots/ trash/ rubble/     see ``ground.py``; with volumes, those of each slot are in its volume

What a daemon that was killed left behind is renamed into the trash by the next and deleted there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from hermes_trio.errors import UnavailableError
from sandbox_daemon.isolation.volumes import Volume, VolumeMaker
from sandbox_daemon.slots.ground import Ground
from sandbox_daemon.slots.ledger import Ledger

_FOLDERS = ("agents", "volumes")
_CROWDED: Final = 1 / 8
"""A volume in which more than this is in use after a reset is given up for a fresh one: the next trajectory
need not wait until it is deleted, and the host gets its disk back. One that holds less is used again."""


_CLOSERS: Final = 16


class DataDirectory:
    """A data directory that this daemon holds. Made by :func:`hold_data_directory`."""

    def __init__(self, root: Path, epoch: int) -> None:
        self.root = root
        self.epoch = epoch
        self.etc = root / "etc"
        self.ledger = Ledger(root / "agents")
        self._ground = Ground(root, str(epoch))
        self._maker: VolumeMaker | None = None
        self._volumes: dict[str, tuple[Volume, Ground]] = {}
        self._retired: list[tuple[Volume, Ground]] = []
        """Emptied and closed by whoever empties the trash, and by nobody else."""
        self._emptying = threading.Lock()

    def __repr__(self) -> str:
        return f"<DataDirectory {self.root} epoch {self.epoch}>"

    def use_volumes(self, *, size_bytes: int, max_files: int) -> None:
        """From now on each slot gets a volume of its own. ``UnavailableError`` when the host has none."""
        self._maker = VolumeMaker(self.root / "volumes", size_bytes=size_bytes, max_files=max_files)

    def wants_volume(self, slot: str) -> bool:
        """Whether :meth:`make_volume` must come before :meth:`make_slot`."""
        held = self._volumes.get(slot)
        return self._maker is not None and (held is None or held[0].used() > _CROWDED)

    def make_volume(self, slot: str) -> None:
        """A fresh volume for a slot in place of the one it has. Blocking; ``OSError`` when refused."""
        assert self._maker is not None
        try:
            volume = self._maker.make()
        except OSError:
            # The disk may be full of what the old one holds, and would stay so if the slot were given up.
            self._retire(slot)
            with self._emptying:
                self._close_retired()
            volume = self._maker.make()
        self._retire(slot)
        self._volumes[slot] = volume, Ground(volume.root, str(self.epoch))

    def _retire(self, slot: str) -> None:
        old = self._volumes.pop(slot, None)
        if old is not None:
            self._retired.append(old)

    def location(self, slot: str) -> tuple[str, str]:
        """Device of a slot's volume and path of its workspace there; without a volume: empty, path here."""
        held = self._volumes.get(slot)
        if held is None:
            return "", str(self.workspace(slot))
        return held[0].device, "/" + str(self.workspace(slot).relative_to(held[0].root))

    def workspace(self, slot: str) -> Path:
        """Where a slot's workspace is."""
        return self._ground_of(slot).folder(slot) / "workspace"

    def make_slot(self, slot: str, uid: int | None) -> None:
        """A fresh, empty folder for a slot, its own when it has a uid."""
        self._ground_of(slot).make(slot, uid)

    def mend_slot(self, slot: str) -> None:
        """Opens or makes again what a slot has closed or removed of its own; no agent could start there."""
        self._ground_of(slot).mend(slot)

    def discard_slot(self, slot: str) -> None:
        """Takes a slot's folder out of sight at once; :meth:`empty_trash` deletes it."""
        ground = self._ground_of(slot)
        ground.discard(ground.folder(slot))

    def discard_leftovers(self) -> None:
        """Everything of earlier lives."""
        self.ledger.end_leftovers()
        for path in (*(self.root / "slots").iterdir(), *(self.root / "volumes").iterdir(), self.etc):
            self._ground.discard(path)

    def empty_trash(self) -> None:
        """Deletes what is in the trash. Blocking and possibly long."""
        with self._emptying:
            self._close_retired()
            for ground in (self._ground, *(ground for _, ground in list(self._volumes.values()))):
                ground.empty_trash()

    def _close_retired(self) -> None:
        while self._retired:
            volume, ground = self._retired.pop()
            with contextlib.suppress(OSError):  # one that is full to the last block cannot be emptied
                ground.empty_trash()  # else the kernel would write out first what nobody will read
            volume.close()

    def trash_count(self) -> int:
        """How many trees wait to be deleted."""
        volumes = (*self._volumes.values(), *self._retired)
        return self._ground.trash_count + sum(ground.trash_count for _, ground in volumes)

    def close(self) -> None:
        """Lets go of the volumes, with what is in them. Blocking."""
        if self._maker is not None:
            self._maker.close()
            self._maker = None
        # A thread that was given up and still deletes uses their descriptors; then the end of the process
        # closes them.
        if self._emptying.acquire(blocking=False):
            volumes = [volume for volume, _ in (*self._volumes.values(), *self._retired)]
            with ThreadPoolExecutor(_CLOSERS) as closers:  # each waits for the kernel, most of the time
                list(closers.map(Volume.close, volumes))
            self._emptying.release()
        self._volumes.clear()
        self._retired.clear()

    def _ground_of(self, slot: str) -> Ground:
        held = self._volumes.get(slot)
        return self._ground if held is None else held[1]


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
        directory = _opened(root)
        try:
            yield directory
        finally:
            directory.close()
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
