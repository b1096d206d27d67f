"""A slot to oneself for one call."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

import trio

from hermes_trio.wire.frames import Lease
from sandbox_daemon.slots.cell import Cell
from sandbox_daemon.slots.table import SlotTable, StaleLeaseError


class Turn:
    """The slot to oneself, or shared, as long as the lease is good.

    A release of the lease cancels the body, and the block ends.

    Args:
        table: says whether the lease is good.
        cell: the slot.
        lease: the right to it.
        shared: with other calls that share it.
        fits: whether the body can share the slot as it is. Else the body changes it, alone in it until it
            calls :meth:`share`.
        scopes: where a release finds whom to cancel.
        quarantine: told when the slot could not be shown dead.
    """

    __slots__ = ("_cell", "_fits", "_lease", "_quarantine", "_scope", "_scopes", "_shared", "_table")

    def __init__(
        self,
        table: SlotTable,
        cell: Cell,
        lease: Lease,
        *,
        shared: bool = False,
        fits: Callable[[], bool] = lambda: True,
        scopes: set[trio.CancelScope],
        quarantine: Callable[[Cell, str], None],
    ) -> None:
        self._table = table
        self._cell = cell
        self._lease = lease
        self._shared = shared
        self._fits = fits
        self._scopes = scopes
        self._quarantine = quarantine
        self._scope = trio.CancelScope()

    async def __aenter__(self) -> Cell:
        """Waits for the turn.

        Cancellation: atomic; the turn is not taken.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self._cell.turn.acquire_nowait(shared=self._may_share())
        except trio.WouldBlock:  # only then is there a reason to let the scheduler go round
            await self._take()
        try:
            self._table.check(self._lease)
        except StaleLeaseError:
            self._cell.turn.release()
            raise
        self._scopes.add(self._scope)
        self._scope.__enter__()
        self._cell.pristine = False
        return self._cell

    async def _take(self) -> None:
        turn = self._cell.turn
        await turn.acquire(shared=self._may_share)
        while not (turn.held_alone or self._fits()):  # a change for one would be lost to the others
            turn.release()
            await turn.acquire(shared=self._may_share)

    def _may_share(self) -> bool:
        return self._shared and self._fits()

    def share(self) -> None:
        """The slot fits now: lets in the others, if it is to be shared."""
        if self._shared and self._cell.turn.held_alone:
            self._cell.turn.share()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Gives the turn up.

        Cancellation: atomic; does not wait.
        """
        self._scopes.discard(self._scope)
        try:
            return bool(self._scope.__exit__(kind, error, trace))
        finally:
            if self._cell.lost:
                self._quarantine(self._cell, "it could not be shown dead")
            self._cell.turn.release()
