"""A workspace becomes several: its own slot's, and those of fresh slots beside it.

On layers nothing is copied: what the parent has written is sealed, as a layer that parent and children share,
and each writes from then on into an upper of its own. Elsewhere the children get copies. Processes are not
forked: those of the parent are ended first, for one that had a file open could go on writing to the layer.

Until the parent is sealed a failure undoes everything; afterwards the parent has its workspace in any case,
and children that could not be made are given back.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import trio

from hermes_trio.telemetry.log import get_logger
from sandbox_daemon.process.outcome import AgentLostError, AgentStartError
from sandbox_daemon.slots.cell import Cell
from sandbox_daemon.slots.storage import DataDirectory, Sealed
from sandbox_daemon.workspaces.entries import TooDeepError
from sandbox_daemon.workspaces.layers import FLATTENED, lightest_run
from sandbox_daemon.workspaces.tree import copy_layers

logger = get_logger(__name__)


async def fork_cell(parent: Cell, children: Sequence[Cell], *, network: bool) -> None:
    """Gives the children the parent's workspace. All their turns must be held.

    Cancellation: poisons; the children must be reset before anybody gets them. The caller shields it.

    Args:
        parent: whose workspace; whatever runs there is ended.
        children: slots of the same daemon.
        network: what a fresh agent of the parent is started with.

    Raises:
        OSError: no room, for instance; nothing has changed but that nothing runs in the parent.
        AgentLostError: the parent could not be shown dead.
        AgentStartError: children did not come up.
        TooDeepError: it cannot be copied or flattened.
    """
    await parent.calm()
    if parent.storage.layered:
        await _seal(parent)
    failures: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_revive, parent, network)
        for child in children:
            nursery.start_soon(_adopt_or_tell, child, parent, network, failures)
    await trio.lowlevel.checkpoint()
    if failures:
        raise AgentStartError("; ".join(failures))


async def _revive(parent: Cell, network: bool) -> None:
    try:
        await trio.lowlevel.checkpoint()
        if parent.storage.layered or parent.agent is None:
            await parent.relay(network=network)
    except (
        AgentStartError,
        AgentLostError,
    ) as error:  # its workspace is there, and its next call tries again
        logger.error("a fork failed", slot=parent.slot, reason=error)
        await trio.lowlevel.checkpoint()


async def _adopt_or_tell(child: Cell, parent: Cell, network: bool, failures: list[str]) -> None:
    try:
        await _adopt(child, parent, network)
    except (OSError, AgentStartError, AgentLostError, TooDeepError) as error:
        failures.append(f"{child.slot}: {error}")
        await trio.lowlevel.checkpoint()


async def _seal(parent: Cell) -> None:
    storage, slot = parent.storage, parent.slot
    if storage.is_empty(slot) and storage.table.stack(slot):
        await trio.lowlevel.checkpoint()
        return  # it has written nothing since it was forked itself
    if storage.table.crowded(slot):
        await _flatten(storage, slot)
    fresh = await trio.to_thread.run_sync(storage.spare)
    storage.seal(slot, fresh)


async def _flatten(storage: DataDirectory, slot: str) -> None:
    """One layer in place of those that are the cheapest to copy; a base stays a layer of its own."""
    based = storage.based(slot)
    start = based + lightest_run(storage.weights(slot)[based:])
    run = slice(start, start + FLATTENED)
    folders = storage.layer_folders(slot)[::-1][run]
    sealed = await trio.to_thread.run_sync(partial(_merged, storage, slot, folders[::-1], whole=start == 0))
    storage.put_flattened(slot, sealed, run)


def _merged(storage: DataDirectory, slot: str, paths: Sequence[Path], *, whole: bool) -> Sealed:
    volume, ground = storage.spare()
    try:
        owner = storage.workspace(slot).stat().st_uid
        ground.make(slot, owner)
        folder = ground.folder(slot) / "workspace"
        copy_layers(paths, folder, owner=owner, whole=whole)
        return Sealed(volume=volume, ground=ground, folder=folder)
    except BaseException:
        volume.close()
        raise


async def _adopt(child: Cell, parent: Cell, network: bool) -> None:
    storage = child.storage
    if not storage.layered:
        await child.renew(network=network)
        owner = child.template.uid
        copy = partial(
            copy_layers,
            [storage.workspace(parent.slot)],
            storage.workspace(child.slot),
            owner=owner,
            whole=True,
        )
        await trio.to_thread.run_sync(copy)
        base = storage.copied_below.get(parent.slot)
        if base is not None:
            storage.copied_below[child.slot] = base
        return
    stack = storage.table.stack(parent.slot)
    if child.pristine:
        storage.put_below(child.slot, stack, like=storage.workspace(parent.slot))
        await child.relay(network=child.network)
    else:
        await child.renew(network=network, stack=stack)
    child.pristine = False
