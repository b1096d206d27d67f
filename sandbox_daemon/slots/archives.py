"""What a pool does with archives of workspaces: make them, and put them back."""

from __future__ import annotations

from typing import Final

import trio

from hermes_trio.errors import Provenance, UnavailableError
from hermes_trio.wire.frames import Lease
from sandbox_daemon.files.flow import Outflow
from sandbox_daemon.files.upload import Source
from sandbox_daemon.process.command import Sink
from sandbox_daemon.process.outcome import AgentLostError, Outcome
from sandbox_daemon.slots.archiving import Archived, ArchiveInflow, invalid, send_snapshot, unpack
from sandbox_daemon.slots.cell import Cell
from sandbox_daemon.slots.table import StaleLeaseError
from sandbox_daemon.slots.workspaces import WorkspaceMethods, no_such_base
from sandbox_daemon.workspaces.archive import ArchiveError
from sandbox_daemon.workspaces.entries import TooDeepError

_CLEAN_LIMIT_S: Final = 30.0
"""As a reset has."""


class ArchiveMethods(WorkspaceMethods):
    """Mixed into the pool, which brings leases and turns."""

    async def snapshot(self, lease: Lease, *, limit_s: float, sink: Sink) -> Archived | Outcome:
        """Sends an archive of the workspace: what was written since its base. What runs there is ended.

        Cancellation: abandons; the workspace is as it was.

        Raises:
            StaleLeaseError: the lease is not good.
            UnavailableError: it cannot be read.
        """
        async with self._turn(lease) as cell:
            try:
                await cell.calm()
                with trio.move_on_after(limit_s), cell.group.standing_back():
                    return await send_snapshot(cell.storage, lease.slot, Outflow(sink))
                return _too_long(limit_s)
            except (OSError, AgentLostError, TooDeepError) as error:
                raise UnavailableError(f"The workspace could not be packed: {error}.") from error
        raise StaleLeaseError(lease)

    async def restore(self, lease: Lease, *, limit_s: float, source: Source) -> Archived | Outcome:
        """Makes a workspace of an archive. What it had is gone, and what ran there is ended.

        An archive that is none, or stands on another base, is refused before anything is changed. One that
        turns out later to be no good leaves the workspace as a reset does.

        Cancellation: shielded, at most 33 s: the worker is killed, and the workspace reset.

        Raises:
            StaleLeaseError: the lease is not good.
            InvalidInputError: it is no archive, or cannot be restored.
            UnavailableError: its base is not here, or there is no room; or no agent came up, then the slot
                is quarantined.
        """
        async with self._turn(lease) as cell:
            with trio.move_on_after(limit_s):
                inflow = ArchiveInflow(source)
                try:
                    await inflow.begin()
                except ArchiveError as error:
                    raise invalid(error) from error
                self._check_base(cell, inflow.base)
                return await self._restore(cell, inflow)
            return _too_long(limit_s)
        raise StaleLeaseError(lease)

    def _check_base(self, cell: Cell, wanted: str | None) -> None:
        """A workspace without a base may get the archive's; one that has a base keeps it."""
        present = cell.storage.base_of(cell.slot)
        if present not in (None, wanted):
            raise invalid(f"it stands on {_named(wanted)}, and this workspace on {_named(present)}")
        if wanted is not None and wanted not in cell.storage.shelf:
            raise no_such_base(wanted)

    async def _restore(self, cell: Cell, inflow: ArchiveInflow) -> Archived | Outcome:
        await self._clean(cell, inflow.base)
        try:
            done = await unpack(cell, inflow, self._limits)
        except BaseException:
            with trio.CancelScope(shield=True), trio.move_on_after(2 * _CLEAN_LIMIT_S):
                await self._clean(cell, inflow.base)
            raise
        if isinstance(done, Outcome):
            await self._clean(cell, inflow.base)
        return done

    async def _clean(self, cell: Cell, base: str | None) -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(_CLEAN_LIMIT_S):
            await self._begin_anew(cell, base)
            return
        self._quarantine(cell, "its reset took too long")
        raise UnavailableError("The reset took too long.")


def _named(base: str | None) -> str:
    return "no base" if base is None else f"base {base}"


def _too_long(limit_s: float) -> Outcome:
    return Outcome(provenance=Provenance.LIMIT_EXCEEDED, error=f"It took longer than {limit_s:g} s")
