"""What shells, terminals and jobs have in common: a leader that the agent started, and the end of it all.

A session has a control group of its own where calls have them. Its end is the end of everything in that
group, as for a command: the agent kills the group, the kernel says when it is empty. Where there are no
groups, a session shares its fate with the whole slot: the end of any command is its end too.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Sequence
from typing import Final

import trio

from sandbox_daemon.agent import protocol
from sandbox_daemon.isolation.cgroups import CallGroup, SlotGroup
from sandbox_daemon.process.command import Exit, Refusal
from sandbox_daemon.process.link import AgentLink, Message
from sandbox_daemon.process.outcome import AgentLostError

END_LIMIT_S: Final = 0.5


class Session:
    """A leader, and everything that came of it. ``on_end`` hears once, synchronously, that the leader ended.

    Attributes:
        call_id: what the agent knows it by.
        report: how the leader ended; ``None`` while it lives, and when the slot's agent was lost.
        over: set when the leader has ended, or the agent was lost.
        gone: set when nothing of the session lives, as far as can be known.
        has_group: whether its processes can be told from the rest of the slot.
    """

    def __init__(self, link: AgentLink, call_id: int, groups: SlotGroup, group: CallGroup | None) -> None:
        self._link = link
        self._groups = groups
        self._group = group
        self.has_group = group is not None
        self.call_id = call_id
        self.report: Exit | Refusal | None = None
        self.over = trio.Event()
        self.gone = trio.Event()
        self.on_end: Callable[[], None] = _nobody

    def __repr__(self) -> str:
        state = "gone" if self.gone.is_set() else "over" if self.over.is_set() else "up"
        return f"<Session {self.call_id} of {self._link.name} {state}>"

    @property
    def link(self) -> AgentLink:
        """The agent's."""
        return self._link

    def cpu_us(self) -> int:
        """Processor time so far; 0 where it is not counted."""
        return 0 if self._group is None else self._group.cpu_us()

    def is_alone(self) -> bool:
        """Whether nothing but the leader lives; false where that cannot be known."""
        return self._group is not None and self._group.count() == 1

    def receive(self, message: Message | None) -> None:
        """The link's last word on the leader."""
        if message is not None:
            message.drop()
            self.report = _understood(message)
        self.over.set()
        self.on_end()
        if self._group is None or message is None:
            self._settle()
            return
        if self._group.populated():
            self._group.kill()
            self._link.watch(self._group.events, self._look_again, events=select.EPOLLPRI)
        self._look_again()

    def _look_again(self) -> None:
        if self._group is not None and not self._group.populated():
            self._link.unwatch(self._group.events)
            self._settle()

    def _settle(self) -> None:
        if self._group is not None:
            self._groups.give_back(self._group)
            self._group = None
        self.gone.set()

    def kill(self) -> None:
        """Asks for the end of everything in it. ``AgentLostError``: then it is the slot's end anyway."""
        if not self.over.is_set():
            self._link.send(protocol.pack(protocol.SWEEP, self.call_id))

    async def end(self) -> bool:
        """Kills it and waits for the proof. False: it is not shown dead in 0.5 s; kill the slot.

        Cancellation: shielded, at most 0.5 s.
        """
        with trio.CancelScope(shield=True):
            try:
                self.kill()
            except AgentLostError:
                await trio.lowlevel.checkpoint()
                return self.gone.is_set()
            with trio.move_on_after(END_LIMIT_S):
                await self.gone.wait()
        return self.gone.is_set()


def _nobody() -> None:
    pass


def _understood(message: Message) -> Exit | Refusal | None:
    if message.kind == protocol.EXITED:
        status, cpu_us, peak_kib, swept, held = message.fixed
        return Exit(status=status, cpu_us=cpu_us, peak_kib=peak_kib, swept=swept, held=bool(held))
    if message.kind == protocol.FAILED:
        return Refusal(reason=message.fixed[0], code=message.fixed[1])
    return None


def start_session(
    link: AgentLink,
    groups: SlotGroup,
    argv: Sequence[bytes],
    *,
    given: Sequence[int] = (),
    cwd: bytes = b".",
    environment: bytes = b"",
    terminal: bytes = b"",
) -> Session:
    """Has the agent start a leader. ``AgentLostError`` when it is gone, ``OSError`` without a group.

    Args:
        link: the agent's.
        groups: the slot's.
        argv: absolute path of the program, then its ``argv`` from the name on.
        given: its streams, and what else it gets from ``FIRST_EXTRA_FD`` on; they stay the caller's.
        cwd: relative to the workspace.
        environment: additions, packed.
        terminal: path of its terminal, instead of streams.
    """
    group = groups.take()
    lent = [] if group is None else [group.procs, group.kill_fd]
    session = Session(link, link.next_id(), groups, group)
    strings = (b"\0".join(argv), cwd, environment, terminal)
    message = protocol.pack(protocol.SESSION, session.call_id, (int(group is not None),), strings)
    try:
        link.send(message, [*given, *lent])
    except AgentLostError:
        if group is not None:
            groups.give_back(group)
        raise
    link.expect(session.call_id, session.receive)
    return session


def close_all(descriptors: Sequence[int]) -> None:
    """Each of them."""
    for descriptor in descriptors:
        os.close(descriptor)
