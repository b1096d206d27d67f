"""One slot's body: its folder, its agent, and the turns taken on it."""

from __future__ import annotations

import contextlib
import os
import platform
from functools import partial
from typing import Final

import trio
from attrs import define, evolve, field

from hermes_trio.telemetry.log import get_logger
from hermes_trio.wire.frames import SlotId
from sandbox_daemon.agent import protocol
from sandbox_daemon.isolation.cgroups import SlotGroup
from sandbox_daemon.isolation.launch import AgentProcess, start_agent
from sandbox_daemon.isolation.policy import WORKSPACE, Launch, configuration, overlay_of, parts
from sandbox_daemon.isolation.staging import remount
from sandbox_daemon.process.kill import kill_slot
from sandbox_daemon.process.link import AgentLink
from sandbox_daemon.process.outcome import AgentLostError, AgentStartError
from sandbox_daemon.slots.sharing import SharedLock
from sandbox_daemon.slots.storage import DataDirectory
from sandbox_daemon.terminal.book import SessionBook
from sandbox_daemon.workspaces.layers import Stack

logger = get_logger(__name__)

_SURVEY_LIMIT_S: Final = 2.0
_COUNTS_PER_NAMESPACE: Final = (5, 14)


def counts_per_namespace() -> bool:
    """Whether RLIMIT_NPROC is counted per user namespace on this kernel."""
    major, minor = platform.release().split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)) or 0)) >= _COUNTS_PER_NAMESPACE


@define(eq=False, kw_only=True)
class Cell:
    """A slot's folder and agent.

    Invariant: ``link`` and ``agent`` are both there or both not; the pump of ``link`` runs in ``nursery``.

    Args:
        nursery: where pumps run: the pool's.
        slot: its id.
        template: launch of this slot's agents, but for the network.
        storage: the data directory.
        group: its control groups.
        code_fd: the agent's code.
        worker_fd: the worker's.
        starts: how many agents may be starting at once on this host.
    """

    nursery: trio.Nursery
    slot: SlotId
    template: Launch
    storage: DataDirectory
    group: SlotGroup
    code_fd: int
    worker_fd: int
    starts: trio.CapacityLimiter
    turn: SharedLock = field(factory=SharedLock)
    """Calls of one slot run one after another, but for those that share it."""
    sessions: SessionBook = field(factory=SessionBook)
    """What outlives the calls: the stateful shell, terminals, jobs."""
    agent: AgentProcess | None = None
    link: AgentLink | None = None
    _killing: trio.Lock = field(factory=trio.Lock)
    _starting: trio.Lock = field(factory=trio.Lock)
    lost: bool = False
    """It could not be shown dead: to be quarantined."""
    pristine: bool = False
    """It was renewed, and nobody has had a turn since."""

    def __repr__(self) -> str:
        pid = self.agent.pid if self.agent else None
        return f"<Cell {self.slot} agent={pid} network={self.network}{' lost' if self.lost else ''}>"

    @property
    def network(self) -> bool:
        """Whether the agent that runs now has the host's network."""
        return self.agent is not None and self.agent.launch.network

    async def renew(self, *, network: bool, stack: Stack = ()) -> None:
        """Kill, fresh folder on these layers, fresh agent, and the proof that nothing is in either.

        Cancellation: poisons; the slot must be renewed again before use.

        Raises:
            AgentStartError, AgentLostError: it is not proven; quarantine it.
        """
        self.pristine = False
        await self.stop()
        self.sessions.forget()
        self.storage.discard_slot(self.slot)
        self.storage.copied_below.pop(self.slot, None)
        self.storage.set_stack(self.slot, stack)
        await self._make_folder()
        await self.start(network=network)
        await self._check_fresh()
        self.pristine = True

    async def _make_folder(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.storage.wants_volume(self.slot):
            await trio.to_thread.run_sync(self.storage.make_volume, self.slot)
        try:
            self.storage.make_slot(self.slot, self.template.uid)
        except OSError:  # a volume on a disk that had no room when it was written out, or worse
            if not self.storage.has_volume(self.slot):
                raise
            await trio.to_thread.run_sync(self.storage.make_volume, self.slot)
            self.storage.make_slot(self.slot, self.template.uid)

    async def _check_fresh(self) -> None:
        processes, entries = await self.survey()
        if self.storage.table.stack(self.slot):
            entries = not self.storage.is_empty(self.slot)  # what lies below it is no news
        if processes or entries:
            raise AgentStartError(f"a fresh slot has {processes} processes, and files: {bool(entries)}")

    async def calm(self) -> None:
        """Nothing but the agent runs in the slot when this returns, and perhaps not even that.

        Cancellation: shielded, at most 4 s.

        Raises:
            AgentLostError: it could not be shown dead.
        """
        await self.end_sessions("the workspace was forked, or made a base")
        if self.agent is None or self.link is None or not self.group.is_alone(self.agent.pid):
            await self.stop()

    async def relay(self, *, network: bool) -> None:
        """Shows a slot that is calm the layers that were put below it.

        An agent that lives has them laid over its workspace, in a millisecond; nothing else is in there.

        Cancellation: poisons; the slot must be renewed before use.

        Raises:
            AgentStartError, AgentLostError: it does not see them; quarantine it.
        """
        agent, link = self.agent, self.link
        alive = agent is not None and link is not None and self.network == network
        if alive and await self._lay_over(agent, link):
            await trio.lowlevel.checkpoint()
            return
        await self.stop()  # an agent that sees what was there before must not live
        await self.start(network=network)

    async def _lay_over(self, agent: AgentProcess | None, link: AgentLink | None) -> bool:
        assert agent is not None
        assert link is not None
        launch = self._launch(network=self.network)
        mount = partial(remount, parts(launch), overlay_of(launch), pid=agent.pid, path=WORKSPACE)
        try:
            await trio.to_thread.run_sync(mount)
            with trio.move_on_after(_SURVEY_LIMIT_S):
                answer = await link.ask(protocol.REOPEN)
                return answer.kind == protocol.REOPENED
        except (OSError, AgentLostError) as error:  # no right to enter its namespace: a fresh agent will do
            logger.info("a slot needs a fresh agent", slot=self.slot, reason=error)
            await trio.lowlevel.checkpoint()
        return False

    async def rest(self) -> None:
        """Kill and an empty folder, without an agent; :meth:`renew` makes it usable.

        Cancellation: poisons; the slot must be renewed before use.

        Raises:
            AgentLostError: it could not be shown dead; quarantine it.
        """
        self.pristine = False
        await self.stop()
        self.sessions.forget()
        self.storage.discard_slot(self.slot)
        self.storage.set_stack(self.slot, ())

    async def start(self, *, network: bool) -> None:
        """Starts an agent on the folder as it is.

        Cancellation: atomic; nothing of a half-started agent is left.

        Raises:
            AgentStartError: it did not come up.
        """
        assert self.agent is None
        launch = self._launch(network=network)
        message = configuration(
            launch,
            machine=os.uname().machine,
            per_namespace_counts=counts_per_namespace(),
            grouped=self.group.contains_calls,
            held=self.group.held,
        )
        async with self.starts:
            agent = await start_agent(launch, group=self.group, code_fd=self.code_fd, configuration=message)
        self.storage.ledger.note(self.slot, agent.pid, agent.launcher.pid)
        self.agent = agent
        self.link = AgentLink(agent.sock, name=self.slot)
        self.nursery.start_soon(self.link.pump, name=f"pump of {self.slot}")

    def _launch(self, *, network: bool) -> Launch:
        place = self.storage.location(self.slot)
        return evolve(
            self.template,
            network=network,
            device=place.device,
            workspace=place.workspace,
            layers=place.layers,
        )

    async def stop(self) -> None:
        """Kills everything in the slot.

        Cancellation: shielded, at most 2 s.

        Raises:
            AgentLostError: it could not be shown dead; ``lost`` is set.
        """
        if not await self.kill():
            raise AgentLostError(f"{self.slot} could not be shown dead")

    async def kill(self) -> bool:
        """The last rung of the ladder. True: nothing in the slot lives.

        Cancellation: shielded, at most 2 s.
        """
        await trio.lowlevel.cancel_shielded_checkpoint()
        with trio.CancelScope(shield=True):
            async with self._killing:  # calls that share the slot may all come to this
                return not self.lost and await self._kill()
        return False

    async def _kill(self) -> bool:
        agent, link = self.agent, self.link
        if agent is None or link is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return True
        dead = await kill_slot(agent)
        link.close()
        if not dead:
            self.lost = True
            logger.critical("LEAK: a slot could not be shown dead", slot=self.slot, agent=agent)
            return False
        agent.close()
        self.storage.ledger.forget(self.slot)
        self.agent = self.link = None
        return True

    async def end_sessions(self, why: str) -> None:
        """Ends what outlives calls, or the slot with it.

        Cancellation: shielded, at most 0.5 s for each session and 2 s for the slot.

        Raises:
            AgentLostError: the slot could not be shown dead.
        """
        if not await self.sessions.end_all(why):
            await self.stop()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def end_terminal(self, name: str) -> None:
        """Ends a terminal, or the slot with it.

        Cancellation: shielded, at most 2.5 s.

        Raises:
            AgentLostError: the slot could not be shown dead.
        """
        if not await self.sessions.end_terminal(name):
            await self.stop()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def end_shell(self) -> None:
        """Ends the stateful shell, or the slot with it.

        Cancellation: shielded, at most 2.5 s.

        Raises:
            AgentLostError: the slot could not be shown dead.
        """
        if not await self.sessions.end_shell():
            await self.stop()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def link_if_ready(self, *, network: bool | None) -> AgentLink | None:
        """The link of an agent that lives and has the right network (``None``: any), if there is one.

        Apart from :meth:`restart` because nearly every call finds one, and a checkpoint costs as much as a
        read.
        """
        if self.link is None or self.link.lost is not None or network not in (None, self.network):
            return None
        return self.link

    async def restart(self, *, network: bool | None) -> AgentLink:
        """A fresh agent on the same workspace, unless somebody else has just started one.

        Cancellation: atomic; a later call starts what is missing.

        Raises:
            AgentStartError, AgentLostError: there is none to be had.
        """
        async with self._starting:
            ready = self.link_if_ready(network=network)
            return ready or await self._restart(network=self.network if network is None else network)

    async def _restart(self, *, network: bool) -> AgentLink:
        await self.stop()
        with contextlib.suppress(OSError):  # what cannot be mended is the start's to report
            self.storage.mend_slot(self.slot)
        await self.start(network=network)
        assert self.link is not None
        return self.link

    async def survey(self) -> tuple[int, int]:
        """Processes in the slot besides the agent, and whether there are files in its workspace (0 or 1).

        Cancellation: abandons.

        Raises:
            AgentLostError: the agent did not answer in 2 s.
        """
        if self.link is None:
            raise AgentLostError(f"{self.slot} has no agent")
        with trio.move_on_after(_SURVEY_LIMIT_S):
            answer = await self.link.ask(protocol.SURVEY)
            if answer.kind == protocol.SURVEYED:
                return answer.fixed[0], answer.fixed[1]
        raise AgentLostError(f"the agent of {self.slot} does not answer")
