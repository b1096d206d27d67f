"""A workspace becomes a base: what many trajectories begin with, built once, and shared.

A base is a copy, named by a digest of all that is in it: what is the same has the same name, wherever it was
built. On layers all slots share the one copy, read-only; elsewhere each gets its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import trio

from hermes_trio.errors import UnavailableError
from sandbox_daemon.isolation.etc import INNER_UID
from sandbox_daemon.slots.storage import MAX_BASES, DataDirectory, Sealed
from sandbox_daemon.workspaces.digest import TreeDigest
from sandbox_daemon.workspaces.tree import DiskFolder, copy_layers

_numbers = itertools.count()


async def build_base(storage: DataDirectory, slot: str) -> str:
    """Makes a base of a slot's workspace; nothing may run there. The name of the base.

    Where there are too many, the least recently used of those that nothing stands on goes.

    Cancellation: abandons; a copy under way is made to its end and dropped.

    Raises:
        UnavailableError: there are too many already, and all are in use.
        OSError, TooDeepError: it cannot be copied.
    """
    if not make_room(storage):
        await trio.lowlevel.checkpoint()
        raise UnavailableError(
            f"This daemon has {MAX_BASES} bases already, and trajectories stand on all of them.",
            mend="Release some.",
        )
    paths = [storage.workspace(slot), *storage.layer_folders(slot)]
    if storage.layered:
        name, sealed = await trio.to_thread.run_sync(partial(_sealed, storage, paths))
        if name in storage.shelf:
            storage.shelf.touch(name)
            await trio.to_thread.run_sync(sealed.volume.close)
        else:
            storage.keep_base(name, sealed)
        return name
    name, folder = await trio.to_thread.run_sync(partial(_copied, storage, paths))
    if name in storage.shelf:
        storage.shelf.touch(name)
        storage.discard(folder)
    else:
        storage.keep_copied_base(name, folder)
    return name


def make_room(storage: DataDirectory) -> bool:
    """Removes what has to go for one more base. Whether that was enough."""
    for name in storage.shelf.surplus():
        storage.remove_base(name)
    return storage.shelf.has_room()


def _sealed(storage: DataDirectory, paths: Sequence[Path]) -> tuple[str, Sealed]:
    volume, ground = storage.spare()
    try:
        ground.make("base", INNER_UID)
        folder = ground.folder("base") / "workspace"
        name = _copy(paths, folder, owner=INNER_UID)
    except BaseException:
        volume.close()
        raise
    return name, Sealed(volume=volume, ground=ground, folder=folder)


def _copied(storage: DataDirectory, paths: Sequence[Path]) -> tuple[str, Path]:
    folder = storage.root / "bases" / f"{storage.epoch}-{next(_numbers)}"
    folder.mkdir(mode=0o700)
    return _copy(paths, folder, owner=None), folder


def _copy(paths: Sequence[Path], folder: Path, *, owner: int | None) -> str:
    digest = TreeDigest()
    copy_layers(paths, folder, owner=owner, whole=True, note=digest.note)
    root = DiskFolder.at(folder)
    try:
        digest.root(root.look())
    finally:
        root.close()
    return digest.hexdigest()
