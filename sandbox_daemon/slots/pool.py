"""The pool: leases of slots, and everything that can be asked of a leased slot."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Final

import trio
from attrs import field, frozen

from hermes_trio.errors import UnavailableError
from hermes_trio.link.background import open_background_nursery
from hermes_trio.telemetry.log import get_logger
from hermes_trio.wire.frames import Lease, SlotId
from hermes_trio.wire.operations import (
    BashArguments,
    DownloadArguments,
    EditFileArguments,
    ListArguments,
    ReadFileArguments,
    SearchArguments,
    SlotStatusReport,
    UploadArguments,
    WriteFileArguments,
)
from sandbox_daemon.files.single import run_edit, run_read, run_write
from sandbox_daemon.files.upload import Source, run_upload
from sandbox_daemon.files.work import run_download, run_list, run_search
from sandbox_daemon.isolation.levels import Isolation, cuts_network
from sandbox_daemon.isolation.policy import SlotLimits
from sandbox_daemon.isolation.uids import DEFAULT_BASE
from sandbox_daemon.process.census import census
from sandbox_daemon.process.command import Sink
from sandbox_daemon.process.outcome import AgentLostError, AgentStartError, Outcome
from sandbox_daemon.slots.archives import ArchiveMethods
from sandbox_daemon.slots.cell import Cell
from sandbox_daemon.slots.cells import Site, open_site
from sandbox_daemon.slots.session_methods import SessionMethods
from sandbox_daemon.slots.table import Grant, SlotState, SlotTable, StaleLeaseError, User
from sandbox_daemon.slots.turn import Turn
from sandbox_daemon.slots.work import Terms, run_bash, run_quiesce

__all__ = [
    "Outcome",
    "SlotPool",
    "SlotPoolConfig",
    "SlotPoolStatistics",
    "StaleLeaseError",
    "open_slot_pool",
]

logger = get_logger(__name__)

_SHUTDOWN_LIMIT_S: Final = 10.0
_CLOSE_LIMIT_S: Final = 20.0
_REFILL_JITTER_S: Final = 0.05

_CROWD: Final = 16
"""Resets under way at once beyond which slots are only emptied; their agents are started when all are empty.

An executor that dies leaves hundreds of slots: killing and wiping one takes a few milliseconds, starting an
agent some tens, and what matters first is that nothing of it runs any more.
"""


@frozen(kw_only=True)
class SlotPoolConfig:
    """A pool's settings.

    Args:
        slots: how many.
        data_dir: where the workspaces live; made when it is not there.
        network: whether a call that asks for the network gets the host's. False: every call runs without,
            and its report says so.
        uid_base: first of the uids that slots may have, when the daemon is root.
        limits: bounds of each slot.
        warm_slots: how many are kept ready while nobody wants them; ``None``: all. The others cost no memory,
            and whoever gets one waits until it is started, some ten milliseconds.
        background: whether a slot may run jobs in the background of its calls.
    """

    slots: int
    data_dir: Path
    network: bool = True
    uid_base: int = DEFAULT_BASE
    limits: SlotLimits = field(factory=SlotLimits)
    warm_slots: int | None = None
    background: bool = False


@frozen(kw_only=True)
class SlotPoolStatistics:
    """Where the slots are, and who waits.

    ``starting`` counts slots that are being started, ``cold`` those without an agent, ``dirty`` those being
    reset or kept on request.
    """

    slots: int
    ready: int
    leased: int
    dirty: int
    quarantined: int
    starting: int
    cold: int
    waiting: int
    trash: int


class SlotPool(ArchiveMethods, SessionMethods):
    """Slots to lease. Made by :func:`open_slot_pool`."""

    def __init__(
        self, config: SlotPoolConfig, isolation: Isolation, site: Site, nursery: trio.Nursery
    ) -> None:
        self._config = config
        self._limits = config.limits
        self._level = isolation.level
        self._terms = Terms(
            level=isolation.level,
            network=config.network,
            cuts_network=cuts_network(isolation),
            limits=config.limits,
            background=config.background,
        )
        self._site = site
        self._nursery = nursery
        self._cells = site.cells(nursery)
        self._table = SlotTable.of(self._cells)
        self._warm_mark = len(self._cells) if config.warm_slots is None else config.warm_slots
        self._hurry = trio.Event()
        self._arrivals: dict[int, tuple[trio.Event, list[Lease]]] = {}
        self._released: dict[SlotId, trio.Event] = {}
        self._scopes: dict[SlotId, set[trio.CancelScope]] = {}
        self._network_wanted = False
        """What the last command wanted: fresh agents are started with it, so that few are restarted."""
        self._last_failure = ""
        self.epoch = site.storage.epoch
        self.setting = site.setting
        self.uids = site.uids

    def __repr__(self) -> str:
        return f"<SlotPool {self._level.value} {self._table!r}>"

    def statistics(self) -> SlotPoolStatistics:
        """A snapshot."""
        counts = self._table.counts()
        return SlotPoolStatistics(
            slots=len(self._cells),
            ready=counts[SlotState.READY],
            leased=counts[SlotState.LEASED],
            dirty=counts[SlotState.DIRTY],
            quarantined=counts[SlotState.QUARANTINED],
            starting=counts[SlotState.NEW],
            cold=counts[SlotState.COLD],
            waiting=self._table.waiting,
            trash=self._site.trash_count,
        )

    def has_slot(self, slot: SlotId) -> bool:
        """Whether this pool has a slot of that name."""
        return slot in self._cells

    def is_quarantined(self, slot: SlotId) -> bool:
        """Whether this slot is out of service: something in it could not be shown dead."""
        return self._table.state(slot) is SlotState.QUARANTINED

    # --- leases ---------------------------------------------------------------------------------------------

    async def acquire(self, *, owner: str, trajectory_id: str) -> Lease:
        """Waits for a slot; first come, first served. A slot kept for this very user comes back as it was.

        Cancellation: atomic; no slot is taken.

        Raises:
            UnavailableError: every slot is quarantined.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        ticket, grant = self._table.request(User(owner, trajectory_id))
        if grant is None:
            self._hurry.set()
            self._hurry = trio.Event()
            self._serve_waiters()
            return await self._wait_grant(ticket)
        self._refill()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return grant.lease

    async def _wait_grant(self, ticket: int) -> Lease:
        if self._table.counts()[SlotState.QUARANTINED] == len(self._cells):
            self._table.withdraw(ticket)
            raise UnavailableError("Every slot of this daemon is quarantined.", mend="Restart the daemon.")
        arrived, leases = self._arrivals[ticket] = trio.Event(), []
        try:
            await arrived.wait()
        except trio.Cancelled:
            del self._arrivals[ticket]
            self._table.withdraw(ticket)
            for lease in leases:  # granted in the same tick: nobody has used it, but who knows that it is so?
                self._begin_release(lease, keep=False)
            raise
        del self._arrivals[ticket]
        if not leases:
            raise UnavailableError("Every slot of this daemon is quarantined.", mend="Restart the daemon.")
        return leases[0]

    async def release(self, lease: Lease, *, reset: bool = True) -> str:
        """Gives a slot back: what runs in it is killed; then it is reset before anybody else gets it.

        Idempotent: a stale lease answers with the slot's state. ``reset=False`` keeps the workspace as it is
        for its owner: for the same trajectory when it comes back, else for the next one that finds no clean
        slot. Another owner gets the slot only after a reset.

        Cancellation: shielded, at most 25 s (kill, fresh agent).

        Returns:
            ``ready``, ``dirty`` (kept as it was) or ``quarantined``.
        """
        with trio.CancelScope(shield=True):
            await self._release(lease, reset=reset)
        state = self._table.state(lease.slot)
        return "ready" if state is SlotState.LEASED else state.value

    async def _release(self, lease: Lease, *, reset: bool) -> None:
        try:
            self._begin_release(lease, keep=not reset)
        except StaleLeaseError:
            if lease.slot not in self._cells:
                raise
            reset = True  # it was released before; what is left is to wait for its reset, if there is one
        done = self._released.get(lease.slot)
        if done is not None:
            await done.wait()
        elif not reset:
            async with self._cells[lease.slot].turn:  # whoever was inside has been cancelled, and is gone
                await self._end_sessions(self._cells[lease.slot])
                self._cells[lease.slot].sessions.jobs.forget()
        await trio.lowlevel.checkpoint()

    async def _end_sessions(self, cell: Cell) -> None:
        """Of a workspace that is kept. Never raises for what the slot did."""
        try:
            await cell.end_sessions("the slot was released")
        except AgentLostError as error:
            self._quarantine(cell, str(error))
            await trio.lowlevel.checkpoint()

    async def release_owner(self, owner: str) -> None:
        """Kills, resets and frees everything one owner holds.

        Cancellation: shielded, at most 25 s.
        """
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
            leases = self._table.leases_of(owner)
            for lease in leases:
                self._begin_release(lease, keep=False)
            slots = {lease.slot for lease in leases} | set(self._table.unkeep(owner))
            for slot in slots - {lease.slot for lease in leases}:
                self._begin_reset(slot)
            for done in [self._released[slot] for slot in slots if slot in self._released]:
                await done.wait()

    def _begin_release(self, lease: Lease, *, keep: bool) -> None:
        self._table.release(lease, keep=keep)
        for scope in self._scopes.get(lease.slot, ()):
            scope.cancel()
        if keep:
            self._serve_waiters()
        else:
            self._begin_reset(lease.slot)

    def _begin_reset(self, slot: SlotId) -> None:
        self._released[slot] = trio.Event()
        self._nursery.start_soon(self._reset, self._cells[slot], name=f"reset of {slot}")

    def _serve_waiters(self) -> None:
        """A slot that was kept on request goes to a waiter of the same owner as it is, else it is reset."""
        grant = self._table.hand_on()
        if grant is not None:
            self._hand_over(grant)
            return
        slot = self._table.wanted()
        if slot is not None:
            self._begin_reset(slot)
        self._refill()

    def _refill(self) -> None:
        """Starts cold slots: as many as are waited for, and up to the mark."""
        # Behind a crowd of resets nobody is started but for those who wait.
        mark = 0 if len(self._released) > _CROWD else self._warm_mark
        while (slot := self._table.warm(mark)) is not None:
            self._nursery.start_soon(self._warm, self._cells[slot], name=f"start of {slot}")

    async def _warm(self, cell: Cell) -> None:
        async with cell.turn:
            await self._unhurried()
            await self._renew(cell)

    async def _unhurried(self) -> None:
        """Off the path of the calls, and not all daemons of a host in step; at once when somebody waits."""
        if self._table.waiting:
            await trio.lowlevel.checkpoint()
            return
        with trio.move_on_after(random.uniform(0, _REFILL_JITTER_S)):  # noqa: S311 - no secret
            await self._hurry.wait()
        await trio.lowlevel.checkpoint()

    async def _reset(self, cell: Cell) -> None:
        """A dirty slot becomes ready, or is quarantined. Never raises for what the slot did."""
        try:
            async with cell.turn:
                await self._site.bound_trash()
                if self._may_rest():
                    await self._rest(cell)
                else:
                    await self._renew(cell)
        finally:
            self._released.pop(cell.slot).set()
            self._site.sweep_trash()
        self._refill()  # somebody may have begun to wait meanwhile, or this was the last of a crowd

    def _may_rest(self) -> bool:
        """Whether a dirty slot may do without an agent for now."""
        crowded = len(self._released) > _CROWD and not self._table.waiting
        return crowded or self._table.is_spare(self._warm_mark)

    async def _rest(self, cell: Cell) -> None:
        try:
            await cell.rest()
        except AgentLostError as error:
            self._quarantine(cell, str(error))
            await trio.lowlevel.checkpoint()
        else:
            self._table.cool(cell.slot)

    async def _renew(self, cell: Cell) -> None:
        try:
            await cell.renew(network=self._network_wanted)
        except (AgentStartError, AgentLostError, OSError) as error:
            self._quarantine(cell, str(error))
            await trio.lowlevel.checkpoint()
        else:
            self._hand_over(self._table.ready(cell.slot))

    def _hand_over(self, grant: Grant | None) -> None:
        if grant is not None:
            arrived, leases = self._arrivals[grant.ticket]
            leases.append(grant.lease)
            arrived.set()

    def _quarantine(self, cell: Cell, why: str) -> None:
        if self._table.state(cell.slot) is SlotState.QUARANTINED:
            return
        logger.error("a slot is quarantined", slot=cell.slot, reason=why)
        self._last_failure = why
        self._table.quarantine(cell.slot)
        self._refill()
        if self._table.counts()[SlotState.QUARANTINED] == len(self._cells):
            for arrived, _ in self._arrivals.values():
                arrived.set()

    # --- work ---------------------------------------------------------------------------------------------

    async def bash(
        self,
        lease: Lease,
        arguments: BashArguments,
        *,
        stdin: bytes = b"",
        limit_s: float = 30.0,
        sink: Sink | None = None,
    ) -> Outcome:
        """Runs one command. When this returns, nothing that it started runs any more.

        Cancellation: shielded, at most 2.75 s: the whole process tree is killed first; one that cannot be
        shown dead quarantines the slot.

        Raises:
            StaleLeaseError: the lease is not good; nothing ran.
        """
        self._table.check(lease)
        self._network_wanted = arguments.allow_network and self._config.network
        fits = partial(self._has_agent, lease.slot, network=self._network_wanted)
        turn = self._turn(lease, shared=arguments.parallel and self.setting.grouped, fits=fits)
        return await run_bash(turn, self._terms, arguments, stdin=stdin, limit_s=limit_s, sink=sink)

    async def read_file(self, lease: Lease, arguments: ReadFileArguments) -> Outcome:
        """Reads one regular file of the workspace.

        Cancellation: abandons.

        Raises:
            StaleLeaseError: the lease is not good; nothing was read.
        """
        return await run_read(self._turn(lease), arguments)

    async def write_file(
        self, lease: Lease, arguments: WriteFileArguments, *, content: bytes = b""
    ) -> Outcome:
        """Writes one file of the workspace, whole or not at all.

        Cancellation: abandons; the file may or may not have been written, never half.

        Raises:
            StaleLeaseError: the lease is not good; nothing was written.
        """
        return await run_write(self._turn(lease), arguments, content=content)

    async def upload(
        self,
        lease: Lease,
        arguments: UploadArguments,
        *,
        limit_s: float = 30.0,
        source: Source | None = None,
    ) -> Outcome:
        """Writes a file, or unpacks an archive, from ``source``.

        Cancellation: shielded, at most 2.75 s: the worker is killed first.

        Raises:
            StaleLeaseError: the lease is not good; nothing was written.
        """
        return await run_upload(self._turn(lease), arguments, limit_s=limit_s, source=source)

    async def edit_file(self, lease: Lease, arguments: EditFileArguments, *, texts: bytes = b"") -> Outcome:
        """Replaces a text in one file of the workspace, in one step or not at all.

        Cancellation: abandons; the file may or may not have been edited, never half.

        Raises:
            StaleLeaseError: the lease is not good; nothing was changed.
        """
        return await run_edit(self._turn(lease), arguments, texts=texts)

    async def search_files(
        self, lease: Lease, arguments: SearchArguments, *, limit_s: float = 30.0
    ) -> Outcome:
        """Looks for a pattern in the files of the workspace.

        Cancellation: shielded, at most 2.75 s: the worker is killed first.

        Raises:
            StaleLeaseError: the lease is not good; nothing was looked at.
        """
        return await run_search(self._turn(lease), arguments, limit_s=limit_s)

    async def list_files(self, lease: Lease, arguments: ListArguments, *, limit_s: float = 30.0) -> Outcome:
        """Lists a folder of the workspace, one page.

        Cancellation: shielded, at most 2.75 s: the worker is killed first.

        Raises:
            StaleLeaseError: the lease is not good; nothing was listed.
        """
        return await run_list(self._turn(lease), arguments, limit_s=limit_s)

    async def download(
        self,
        lease: Lease,
        arguments: DownloadArguments,
        *,
        limit_s: float = 30.0,
        sink: Sink | None = None,
    ) -> Outcome:
        """Sends a file, or an archive of a folder, into ``sink``.

        Cancellation: shielded, at most 2.75 s: a worker is killed first.

        Raises:
            StaleLeaseError: the lease is not good; nothing was read.
        """
        turn = self._turn(lease)
        return await run_download(turn, arguments, limit_s=limit_s, limits=self._config.limits, sink=sink)

    async def quiesce(self, lease: Lease) -> int:
        """Returns when nothing runs in the slot any more: how many background jobs were ended for it.

        Cancellation: atomic.

        Raises:
            StaleLeaseError: the lease is not good.
        """
        return await run_quiesce(self._turn(lease))

    def status(self, lease: Lease) -> SlotStatusReport:
        """What runs in the slot now.

        Raises:
            StaleLeaseError: the lease is not good.
        """
        self._table.check(lease)
        agent = self._cells[lease.slot].agent
        return census(agent.pid) if agent is not None else SlotStatusReport()

    def _has_agent(self, slot: SlotId, *, network: bool) -> bool:
        """Whether no other agent has to be started for a call; that would end all who share the slot."""
        return self._cells[slot].link_if_ready(network=network) is not None

    def _turn(self, lease: Lease, *, shared: bool = False, fits: Callable[[], bool] = lambda: True) -> Turn:
        self._table.check(lease)
        scopes = self._scopes.setdefault(lease.slot, set())
        cell = self._cells[lease.slot]
        return Turn(
            self._table,
            cell,
            lease,
            shared=shared,
            fits=fits,
            scopes=scopes,
            quarantine=self._quarantine,
        )

    # --- life -----------------------------------------------------------------------------------------------

    async def start_all(self) -> None:
        """Brings every slot up.

        Cancellation: poisons; meant for :func:`open_slot_pool` only.

        Raises:
            UnavailableError: not one came up.
        """
        warm = list(self._cells.values())[: max(1, self._warm_mark)]
        for slot in list(self._cells)[len(warm) :]:
            self._table.cool(slot)
        async with trio.open_nursery() as nursery:
            for cell in warm:
                nursery.start_soon(self._renew, cell)
        if self._table.counts()[SlotState.QUARANTINED] >= len(warm):
            raise UnavailableError(
                f"No slot could be started: {self._last_failure}.", mend="Run `hermes-trio doctor`."
            )

    async def stop_all(self) -> None:
        """Kills every slot, at once.

        Cancellation: shielded, at most 10 s.
        """
        with trio.CancelScope(shield=True), trio.move_on_after(_SHUTDOWN_LIMIT_S):
            async with trio.open_nursery() as nursery:
                for cell in self._cells.values():
                    nursery.start_soon(cell.kill)


@contextlib.asynccontextmanager
async def open_slot_pool(config: SlotPoolConfig, isolation: Isolation) -> AsyncIterator[SlotPool]:
    """A pool whose slots are all started (or quarantined) when the body begins; nothing of it is left after.

    Cancellation: shielded, at most 20 s on the way out: every slot is killed, every workspace removed.

    Args:
        config: settings.
        isolation: what :func:`sandbox_daemon.isolation.probe` found.

    Raises:
        UnavailableError: the data directory is held, the uids are taken, or no slot came up.
    """
    with open_site(config, isolation) as site:
        async with open_background_nursery() as nursery:
            nursery.start_soon(site.run_trash, name="trash of the slots")
            pool = SlotPool(config, isolation, site, nursery)
            try:
                await pool.start_all()
                yield pool
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(_CLOSE_LIMIT_S):
                    await pool.stop_all()
                    await site.clear()
