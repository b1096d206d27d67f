"""The data directory: who holds it, the slots' folders, their volumes, and the trash.

::

    lock          flock of the living daemon
    epoch         how many daemons have lived here
    etc/          the slots' /etc
    agents/       which agents run, for the next daemon to end those that a killed one left
    volumes/      files of volumes, for the moment in which they have a name
    bases/        task bases, by digest, where workspaces cannot lie on layers
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

from attrs import frozen

from hermes_trio.errors import UnavailableError
from sandbox_daemon.isolation.etc import INNER_UID
from sandbox_daemon.isolation.policy import LayerSource
from sandbox_daemon.isolation.volumes import Volume, VolumeMaker
from sandbox_daemon.slots.ground import Ground
from sandbox_daemon.slots.ledger import Ledger
from sandbox_daemon.workspaces.layers import LayerId, LayerTable, Stack
from sandbox_daemon.workspaces.shelf import BaseShelf

_FOLDERS = ("agents", "volumes", "bases")
_CROWDED: Final = 1 / 8
"""A volume in which more than this is in use after a reset is given up for a fresh one: the next trajectory
need not wait until it is deleted, and the host gets its disk back. One that holds less is used again."""
_WORN: Final = 256
"""A volume in which more files than this were thrown away is given up too; ``volumes.py`` says why."""
_SHORT: Final = 1 / 16
"""Of the host's disk. With less to spare, what is thrown away is deleted first."""
_STOCK: Final = 2
"""Volumes that lie ready, so that neither a reset nor a fork waits for one."""


MAX_BASES: Final = 64
"""Of one daemon. Each may hold as much as a slot."""
_CLOSERS: Final = 16


@frozen(kw_only=True)
class Location:
    """Where a slot's workspace is.

    Args:
        device: of its volume; empty: it has none.
        workspace: its path there, without a volume its path here.
        layers: what lies below it, from bottom to top.
    """

    device: str
    workspace: str
    layers: tuple[LayerSource, ...] = ()


@frozen(kw_only=True)
class Sealed:
    """A layer: a folder of a volume that nobody writes to any more."""

    volume: Volume
    ground: Ground
    folder: Path


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
        self._stock: list[tuple[Volume, Ground]] = []
        self.table = LayerTable()
        self._sealed: dict[LayerId, Sealed] = {}
        self._idmapped = False
        self._bases: dict[LayerId, str] = {}
        self.copied_bases: dict[str, Path] = {}
        """Where workspaces are copied: folders, by name."""
        self.copied_below: dict[str, str] = {}
        """And which slot began as which."""
        self.shelf = BaseShelf(self.is_base_used, most=MAX_BASES)

    def __repr__(self) -> str:
        return f"<DataDirectory {self.root} epoch {self.epoch}>"

    def use_volumes(self, *, size_bytes: int, max_files: int, idmapped: bool = False) -> None:
        """From now on each slot gets a volume of its own. ``UnavailableError`` when the host has none.

        Args:
            size_bytes: of each.
            max_files: of each.
            idmapped: what is on a volume belongs to ``INNER_UID``, and mounts show it as the slot's; that is
                what makes it a layer for others.
        """
        self._maker = VolumeMaker(self.root / "volumes", size_bytes=size_bytes, max_files=max_files)
        self._idmapped = idmapped

    @property
    def layered(self) -> bool:
        """Whether workspaces can lie on layers here; else they are copied."""
        return self._idmapped

    def wants_volume(self, slot: str) -> bool:
        """Whether :meth:`make_volume` must come before :meth:`make_slot`."""
        held = self._volumes.get(slot)
        if self._maker is None:
            return False
        if held is None:
            return True
        volume, _ = held
        return volume.wear > _WORN or volume.used() > _CROWDED or volume.damaged()

    def has_volume(self, slot: str) -> bool:
        """Whether a slot has one."""
        return slot in self._volumes

    def make_volume(self, slot: str) -> None:
        """A fresh volume for a slot in place of the one it has. Blocking; ``OSError`` when refused."""
        try:
            fresh = None if self._is_short() else self.spare()
        except OSError:
            fresh = None
        self._retire(slot)
        if fresh is None:
            # The disk may be full of what the old one holds, and would stay so if the slot were given up.
            with self._emptying:
                self._close_retired()
            fresh = self.spare()
        self._volumes[slot] = fresh

    def _is_short(self) -> bool:
        """Whether the host's disk has so little room that a fresh volume would soon fail its slot."""
        status = os.statvfs(self.root)
        return status.f_bavail < status.f_blocks * _SHORT

    def spare(self) -> tuple[Volume, Ground]:
        """A fresh volume that is nobody's yet. Blocking; ``OSError`` when refused."""
        with contextlib.suppress(IndexError):
            return self._stock.pop()
        return self._made()

    def _made(self) -> tuple[Volume, Ground]:
        assert self._maker is not None
        volume = self._maker.make()
        return volume, Ground(volume.root, str(self.epoch))

    def _fill_stock(self) -> None:
        """For the trash's thread. A host that refuses will say so to whoever needs one."""
        with contextlib.suppress(OSError):
            while self._maker is not None and len(self._stock) < _STOCK:
                self._stock.append(self._made())

    def _retire(self, slot: str) -> None:
        old = self._volumes.pop(slot, None)
        if old is not None:
            self._retired.append(old)

    def location(self, slot: str) -> Location:
        """Where a slot's workspace is, and what lies below it."""
        held = self._volumes.get(slot)
        if held is None:
            return Location(device="", workspace=str(self.workspace(slot)))
        path = "/" + str(self.workspace(slot).relative_to(held[0].root))
        layers = tuple(self._source(layer) for layer in self.table.stack(slot))
        return Location(device=held[0].device, workspace=path, layers=layers)

    def _source(self, layer: LayerId) -> LayerSource:
        sealed = self._sealed[layer]
        return LayerSource(sealed.volume.device, "/" + str(sealed.folder.relative_to(sealed.volume.root)))

    # --- layers ---------------------------------------------------------------------------------------------

    def seal(self, slot: str, fresh: tuple[Volume, Ground]) -> None:
        """What a slot has written becomes a layer below it, on the volume where it is.

        Nothing of the slot may run: whoever had a file open could go on writing to the layer.

        Args:
            slot: whose.
            fresh: a volume from :meth:`spare`, for what it writes from now on.
        """
        volume, ground = self._volumes[slot]
        folder = self.workspace(slot)
        _make_like(fresh[1], slot, folder)
        self._volumes[slot] = fresh
        self._sealed[self.table.seal(slot)] = Sealed(volume=volume, ground=ground, folder=folder)

    def put_below(self, slot: str, stack: Stack, *, like: Path | None = None) -> None:
        """Lays a stack below a slot that has written nothing, instead of what lay there.

        Args:
            slot: whose.
            stack: from bottom to top; somebody must hold it.
            like: the folder that the workspace itself is to look like: the topmost of the stack.
        """
        self.set_stack(slot, stack)
        if stack:
            self._ground_of(slot).prepare_overlay(slot)
            copy_look(like or self._sealed[stack[-1]].folder, self.workspace(slot))

    def set_stack(self, holder: str, stack: Stack) -> None:
        """What a holder holds from now on; what nobody holds any more is thrown away."""
        self._throw_away(self.table.put(holder, stack))

    def _throw_away(self, layers: Stack) -> None:
        for layer in layers:
            sealed = self._sealed.pop(layer)
            sealed.ground.discard(sealed.folder)
            self._retired.append((sealed.volume, sealed.ground))

    def weights(self, slot: str) -> list[int]:
        """What it costs to copy each of a slot's layers, from bottom to top."""
        return [self._sealed[layer].volume.weight() for layer in self.table.stack(slot)]

    def put_flattened(self, slot: str, sealed: Sealed, run: slice) -> None:
        """One layer in place of some neighbours among a slot's."""
        layer, freed = self.table.flatten(slot, run)
        self._sealed[layer] = sealed
        self._throw_away(freed)

    def base_of(self, slot: str) -> str | None:
        """The name of the base that a slot's workspace began as."""
        stack = self.base_stack(slot)
        return self._bases[stack[0]] if stack else self.copied_below.get(slot)

    def base_folder(self, slot: str) -> Path | None:
        """The folder of that base."""
        stack = self.base_stack(slot)
        if stack:
            return self._sealed[stack[0]].folder
        name = self.copied_below.get(slot)
        return None if name is None else self.copied_bases[name]

    def written_folders(self, slot: str) -> list[Path]:
        """What lies above a slot's base, from top to bottom: its own folder, and its layers."""
        layers = self.layer_folders(slot)
        return [self.workspace(slot), *layers[: len(layers) - self.based(slot)]]

    def keep_base(self, name: str, sealed: Sealed) -> None:
        """A layer is a base from now on."""
        layer = self.table.seal(_holder_of(name))
        self._sealed[layer] = sealed
        self._bases[layer] = name
        self.shelf.touch(name)

    def keep_copied_base(self, name: str, folder: Path) -> None:
        """A folder is a base from now on, where workspaces are copied."""
        self.copied_bases[name] = folder
        self.shelf.touch(name)

    def is_base_used(self, name: str) -> bool:
        """Whether a slot stands on it, or a fork of one."""
        layers = self.stack_of_base(name)
        return name in self.copied_below.values() or any(map(self.table.is_shared, layers))

    @contextlib.contextmanager
    def held_base(self, slot: str, name: str) -> Iterator[None]:
        """Meanwhile a base is in use, though no slot stands on it yet."""
        holder = f"beginning {slot}"
        self.shelf.touch(name)
        self.set_stack(holder, self.stack_of_base(name))
        if name in self.copied_bases:
            self.copied_below[holder] = name
        try:
            yield
        finally:
            self.copied_below.pop(holder, None)
            self.set_stack(holder, ())

    def remove_base(self, name: str) -> None:
        """Throws away a base that nothing stands on; :meth:`empty_trash` deletes it."""
        self.shelf.drop(name)
        folder = self.copied_bases.pop(name, None)
        if folder is not None:
            self._ground.discard(folder)
        for layer in self.stack_of_base(name):
            del self._bases[layer]
        self.set_stack(_holder_of(name), ())

    def stack_of_base(self, name: str) -> Stack:
        """A base, as a stack; nothing where workspaces are copied."""
        return self.table.stack(_holder_of(name))

    def based(self, slot: str) -> int:
        """How many of a slot's layers, the lowest, are its base: one or none."""
        stack = self.table.stack(slot)
        return int(bool(stack) and stack[0] in self._bases)

    def base_stack(self, slot: str) -> Stack:
        """A slot's base, as a stack."""
        return self.table.stack(slot)[: self.based(slot)]

    def layer_folders(self, slot: str) -> list[Path]:
        """The folders of a slot's layers, from top to bottom."""
        return [self._sealed[layer].folder for layer in reversed(self.table.stack(slot))]

    def is_empty(self, slot: str) -> bool:
        """Whether a slot has written nothing."""
        return self._ground_of(slot).is_empty(slot)

    # --- folders --------------------------------------------------------------------------------------------

    def workspace(self, slot: str) -> Path:
        """Where a slot's workspace is."""
        return self._ground_of(slot).folder(slot) / "workspace"

    def make_slot(self, slot: str, uid: int | None) -> None:
        """A fresh, empty folder for a slot, its own when it has a uid, on what lay below it before."""
        held = self._volumes.get(slot)
        owner = INNER_UID if held is not None and self._idmapped else uid
        self._ground_of(slot).make(slot, owner)
        stack = self.table.stack(slot)
        if stack:
            self.put_below(slot, stack)

    def mend_slot(self, slot: str) -> None:
        """Opens or makes again what a slot has closed or removed of its own; no agent could start there."""
        self._ground_of(slot).mend(slot)

    def discard_slot(self, slot: str) -> None:
        """Takes a slot's folder out of sight at once; :meth:`empty_trash` deletes it."""
        ground = self._ground_of(slot)
        if slot in self._volumes:
            self._volumes[slot][0].note_wear()
        ground.discard(ground.folder(slot))

    def discard(self, folder: Path) -> None:
        """Takes a folder of the data directory out of sight at once; :meth:`empty_trash` deletes it."""
        self._ground.discard(folder)

    def discard_leftovers(self) -> None:
        """Everything of earlier lives."""
        self.ledger.end_leftovers()
        folders = ("slots", "volumes", "bases")
        for path in (*(path for name in folders for path in (self.root / name).iterdir()), self.etc):
            self._ground.discard(path)

    def empty_trash(self) -> None:
        """Deletes what is in the trash. Blocking and possibly long."""
        with self._emptying:
            self._close_retired()
            held = [ground for _, ground in list(self._volumes.values())]
            sealed = [layer.ground for layer in list(self._sealed.values())]
            for ground in (self._ground, *held, *sealed):
                ground.empty_trash()
            self._fill_stock()

    def _close_retired(self) -> None:
        while self._retired:
            volume, _ = self._retired.pop()
            volume.close()

    def trash_count(self) -> int:
        """How many trees wait to be deleted."""
        volumes = (*self._volumes.values(), *self._retired)
        sealed = sum(layer.ground.trash_count for layer in self._sealed.values())
        return self._ground.trash_count + sealed + sum(ground.trash_count for _, ground in volumes)

    def close(self) -> None:
        """Lets go of the volumes, with what is in them. Blocking."""
        if self._maker is not None:
            self._maker.close()
            self._maker = None
        # A thread that was given up and still deletes uses their descriptors; then the end of the process
        # closes them.
        if self._emptying.acquire(blocking=False):
            volumes = [volume for volume, _ in (*self._volumes.values(), *self._retired, *self._stock)]
            volumes += [layer.volume for layer in self._sealed.values()]
            with ThreadPoolExecutor(_CLOSERS) as closers:  # each waits for the kernel, most of the time
                list(closers.map(Volume.close, volumes))
            self._emptying.release()
        self._volumes.clear()
        self._sealed.clear()
        self._retired.clear()
        self._stock.clear()

    def _ground_of(self, slot: str) -> Ground:
        held = self._volumes.get(slot)
        return self._ground if held is None else held[1]


def _holder_of(base: str) -> str:
    return f"base {base}"


def _make_like(ground: Ground, slot: str, folder: Path) -> None:
    status = folder.stat()
    ground.make(slot, status.st_uid)
    ground.prepare_overlay(slot)
    copy_look(folder, ground.folder(slot) / "workspace")


def copy_look(source: Path, target: Path) -> None:
    """Mode and times of a folder of ours: what an overlay shows of it is the upper's.

    The slot may have closed it to itself; no agent could start there.
    """
    status = source.stat()
    target.chmod(stat.S_IMODE(status.st_mode) | 0o700)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


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
