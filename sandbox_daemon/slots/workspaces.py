"""What a pool does with whole workspaces: fork them, put them back."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import trio

from hermes_trio.errors import NoBaseError, NoRoomError, UnavailableError
from hermes_trio.wire.frames import Lease, SlotId
from sandbox_daemon.isolation.policy import SlotLimits
from sandbox_daemon.process.outcome import AgentLostError, AgentStartError
from sandbox_daemon.slots.basing import build_base
from sandbox_daemon.slots.cell import Cell
from sandbox_daemon.slots.cells import Site
from sandbox_daemon.slots.differing import DiffPage, diff_page
from sandbox_daemon.slots.forking import fork_cell
from sandbox_daemon.slots.table import SlotTable, StaleLeaseError
from sandbox_daemon.slots.turn import Turn
from sandbox_daemon.workspaces.entries import TooDeepError
from sandbox_daemon.workspaces.tree import copy_layers

_LEASES_LIMIT_S: Final = 10.0
_FORK_LIMIT_S: Final = 30.0
"""Where workspaces are copied, a big one takes that long."""


class WorkspaceMethods(ABC):
    """Mixed into the pool, which brings leases and turns."""

    _table: SlotTable
    _cells: Mapping[SlotId, Cell]
    _site: Site
    _network_wanted: bool
    _limits: SlotLimits

    @abstractmethod
    async def acquire(self, *, owner: str, trajectory_id: str) -> Lease:
        """Waits for a slot. Cancellation: atomic."""

    @abstractmethod
    def _turn(self, lease: Lease) -> Turn:
        """The slot to oneself, as long as the lease is good."""

    @abstractmethod
    def _begin_release(self, lease: Lease, *, keep: bool) -> None:
        """Gives a slot back."""

    @abstractmethod
    def _quarantine(self, cell: Cell, why: str) -> None:
        """Takes a slot out of service."""

    async def fork(self, lease: Lease, *, owner: str, into: Sequence[str]) -> tuple[Lease, ...]:
        """Leases a slot for each of these trajectories, with a copy of this one's workspace.

        What runs in the slot is ended; processes are not forked.

        Cancellation: atomic; until the workspace is sealed nothing has happened but that, and after it the
        fork is completed (shielded, at most 30 s) and given back.

        Raises:
            StaleLeaseError: the lease is not good.
            UnavailableError: there are too few free slots, or one did not come up. Nothing is lost.
        """
        async with self._turn(lease) as cell:
            leases = await self._lease_all(owner, into)
            try:
                with trio.CancelScope(shield=True), trio.move_on_after(_FORK_LIMIT_S) as bound:
                    await self._fork(cell, [self._cells[given.slot] for given in leases])
                if bound.cancelled_caught:
                    raise UnavailableError(f"The fork took more than {_FORK_LIMIT_S} s.")
                await trio.lowlevel.checkpoint_if_cancelled()
            except BaseException:
                for given in leases:
                    self._begin_release(given, keep=False)
                raise
            return leases
        raise StaleLeaseError(lease)

    async def _fork(self, parent: Cell, children: Sequence[Cell]) -> None:
        try:
            async with contextlib.AsyncExitStack() as turns:
                for child in children:
                    await turns.enter_async_context(child.turn)
                await fork_cell(parent, children, network=self._network_wanted)
        except (OSError, AgentStartError, AgentLostError, TooDeepError) as error:
            raise UnavailableError(f"The workspace could not be forked: {error}.") from error

    async def _lease_all(self, owner: str, trajectory_ids: Sequence[str]) -> tuple[Lease, ...]:
        wanted = len(trajectory_ids)
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._table.can_serve(wanted):
            raise self._too_few(wanted)
        leases: list[Lease] = []
        try:
            with trio.move_on_after(_LEASES_LIMIT_S):
                await trio.lowlevel.checkpoint()
                for trajectory_id in trajectory_ids:
                    leases.append(await self.acquire(owner=owner, trajectory_id=trajectory_id))
                return tuple(leases)
            raise self._too_few(wanted)
        except BaseException:
            for given in leases:
                self._begin_release(given, keep=False)
            raise

    def _too_few(self, wanted: int) -> NoRoomError:
        free = self._table.coming()
        return NoRoomError(f"A fork needs {wanted} free slots, and this daemon has {free}.")

    async def reset(self, lease: Lease, *, base: str | None = None) -> str | None:
        """A fresh workspace in the same slot; what ran there is ended.

        Cancellation: shielded, at most 30 s.

        Args:
            lease: the right to it.
            base: what it begins with; ``None``: the base it has, if it has one.

        Returns:
            The base that it has now.

        Raises:
            StaleLeaseError: the lease is not good.
            UnavailableError: there is no such base here, or no agent came up; then the slot is quarantined.
        """
        async with self._turn(lease) as cell:
            name = cell.storage.base_of(lease.slot) if base is None else base
            if name is not None and name not in cell.storage.shelf:
                raise no_such_base(name)
            with trio.CancelScope(shield=True), trio.move_on_after(_FORK_LIMIT_S):
                await self._begin_anew(cell, name)
                return name
            self._quarantine(cell, "its reset took too long")
            raise UnavailableError("The reset took too long.")
        raise StaleLeaseError(lease)

    async def build_base(self, lease: Lease) -> str:
        """Makes a base of the workspace as it is; what runs there is ended. The base's name.

        Cancellation: abandons; the workspace is as it was.

        Raises:
            StaleLeaseError: the lease is not good.
            UnavailableError: it cannot be copied, or there are too many bases.
        """
        async with self._turn(lease) as cell:
            try:
                await cell.calm()
                return await build_base(cell.storage, lease.slot)
            except (OSError, AgentLostError, TooDeepError) as error:
                raise UnavailableError(f"The base could not be built: {error}.") from error
        raise StaleLeaseError(lease)

    def bases(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The bases that are here, least recently used first, and those of them that slots stand on."""
        storage = self._site.storage
        names = tuple(storage.shelf)
        return names, tuple(filter(storage.is_base_used, names))

    def remove_base(self, name: str) -> None:
        """Forgets a base. Its disk is given back soon.

        Raises:
            NoBaseError: there is none of that name.
            UnavailableError: a slot stands on it; nothing has changed.
        """
        storage = self._site.storage
        if name not in storage.shelf:
            raise no_such_base(name)
        if storage.is_base_used(name):
            raise UnavailableError(f"A trajectory stands on base {name[:80]!r}.", mend="Release it first.")
        storage.remove_base(name)
        self._site.sweep_trash()

    async def diff(self, lease: Lease, *, after_path: bytes | None, max_entries: int) -> DiffPage:
        """How the workspace differs from its base, or from an empty one.

        Cancellation: abandons.

        Raises:
            StaleLeaseError: the lease is not good.
            UnavailableError: it cannot be read.
        """
        async with self._turn(lease) as cell:
            try:
                await cell.end_sessions("the workspace was compared")
                return await trio.to_thread.run_sync(
                    partial(diff_page, cell.storage, lease.slot, after_path, max_entries)
                )
            except (OSError, AgentLostError, TooDeepError) as error:
                raise UnavailableError(f"The workspace could not be compared: {error}.") from error
        raise StaleLeaseError(lease)

    async def _begin_anew(self, cell: Cell, base: str | None) -> None:
        try:
            with cell.storage.held_base(cell.slot, base) if base is not None else contextlib.nullcontext():
                await self._site.bound_trash()
                await self._renew_on(cell, base)
        except (AgentStartError, AgentLostError, OSError, TooDeepError) as error:
            self._quarantine(cell, str(error))
            raise UnavailableError(f"The slot could not be reset: {error}.") from error
        finally:
            self._site.sweep_trash()

    async def _renew_on(self, cell: Cell, base: str | None) -> None:
        storage = cell.storage
        stack = () if base is None else storage.stack_of_base(base)
        await cell.renew(network=self._network_wanted, stack=stack)
        if base is not None and not storage.layered:
            owner, target = cell.template.uid, storage.workspace(cell.slot)
            copy = partial(copy_layers, [storage.copied_bases[base]], target, owner=owner, whole=True)
            await trio.to_thread.run_sync(copy)
            storage.copied_below[cell.slot] = base


def no_such_base(name: str) -> NoBaseError:
    """The answer to whoever asks for a base that is not here."""
    return NoBaseError(f"There is no base {name[:80]!r} on this daemon.", mend="Build it here.")
