"""The pool's operations on what outlives calls: the stateful shell, the terminals and the jobs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import trio

from hermes_trio.wire.frames import Lease, SlotId
from hermes_trio.wire.operations import (
    JobAction,
    JobArguments,
    StatefulArguments,
    TerminalAction,
    TerminalArguments,
)
from sandbox_daemon.process.command import Sink
from sandbox_daemon.process.outcome import Outcome
from sandbox_daemon.slots.cell import Cell
from sandbox_daemon.slots.jobs import check_job, run_job, run_start_job
from sandbox_daemon.slots.requests import BadRequestError
from sandbox_daemon.slots.stateful import run_stateful
from sandbox_daemon.slots.table import SlotTable
from sandbox_daemon.slots.terminals import check_terminal, run_start, run_terminal
from sandbox_daemon.slots.turn import Turn
from sandbox_daemon.slots.work import RELEASED, Terms

if TYPE_CHECKING:
    from sandbox_daemon.slots.pool import SlotPoolConfig


class SessionMethods(ABC):
    """Mixed into the pool, which brings the slots."""

    _config: SlotPoolConfig
    _terms: Terms
    _table: SlotTable
    _nursery: trio.Nursery
    _network_wanted: bool
    _cells: Mapping[SlotId, Cell]
    _scopes: dict[SlotId, set[trio.CancelScope]]

    @abstractmethod
    def _turn(self, lease: Lease) -> Turn:
        """The slot to oneself."""

    async def bash_stateful(
        self,
        lease: Lease,
        arguments: StatefulArguments,
        *,
        limit_s: float = 30.0,
        sink: Sink | None = None,
    ) -> Outcome:
        """Runs one command in the slot's stateful shell, which is started when there is none.

        What the command leaves in the background goes on; quiesce, reset and release end it.

        Cancellation: shielded, at most 3.75 s: what the command has in the foreground is killed first.

        Raises:
            StaleLeaseError: the lease is not good; nothing ran.
        """
        self._network_wanted = arguments.allow_network and self._config.network
        return await run_stateful(self._turn(lease), self._terms, arguments, limit_s=limit_s, sink=sink)

    async def terminal(self, lease: Lease, arguments: TerminalArguments, *, data: bytes = b"") -> Outcome:
        """Does one thing with a terminal of the slot. Nothing but a start waits for the slot's calls.

        Quiesce, reset and release end all terminals.

        Cancellation: abandons; keys that were typed are typed.

        Raises:
            StaleLeaseError: the lease is not good; nothing was done.
        """
        try:
            action = check_terminal(arguments)
        except BadRequestError as error:
            await trio.lowlevel.checkpoint()
            return error.outcome
        if action is TerminalAction.START:
            self._network_wanted = arguments.allow_network and self._config.network
            turn = self._turn(lease)
            return await run_start(turn, self._terms, arguments, nursery=self._nursery)
        return await self._beside(lease, partial(run_terminal, action=action, arguments=arguments, data=data))

    async def job(self, lease: Lease, arguments: JobArguments, *, data: bytes = b"") -> Outcome:
        """Does one thing with the background jobs of the slot. Nothing but a start waits for its calls.

        Quiesce, reset and release end all jobs.

        Cancellation: abandons; a job that was started stays, what was sent to one is sent.

        Raises:
            StaleLeaseError: the lease is not good; nothing was done.
        """
        try:
            action = check_job(arguments, data)
        except BadRequestError as error:
            await trio.lowlevel.checkpoint()
            return error.outcome
        if action is JobAction.START:
            self._network_wanted = arguments.allow_network and self._config.network
            return await run_start_job(self._turn(lease), self._terms, arguments, nursery=self._nursery)
        terms = self._terms
        work = partial(run_job, terms=terms, action=action, arguments=arguments, data=data)
        return await self._beside(lease, work)

    async def _beside(self, lease: Lease, work: Callable[[Cell], Awaitable[Outcome]]) -> Outcome:
        """Beside the slot's calls, until the lease is given back."""
        self._table.check(lease)
        scopes = self._scopes.setdefault(lease.slot, set())
        with trio.CancelScope() as scope:
            scopes.add(scope)
            try:
                return await work(self._cells[lease.slot])
            finally:
                scopes.discard(scope)
        return RELEASED
