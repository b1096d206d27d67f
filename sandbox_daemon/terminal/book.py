"""Which sessions a slot has, and their end."""

from __future__ import annotations

import trio
from attrs import define, field

from sandbox_daemon.terminal.jobbook import JobBook
from sandbox_daemon.terminal.pty import Terminal
from sandbox_daemon.terminal.shell import StatefulShell


@define(eq=False)
class SessionBook:
    """The sessions of one slot.

    Attributes:
        shell: the stateful shell; ``None``: none was asked for, or it has ended and its end was told.
        shells: how many there have been under this lease.
        ended: why the last one ended, for whoever asks for the next.
    """

    shell: StatefulShell | None = None
    shells: int = 0
    ended: str = ""
    terminals: dict[str, Terminal] = field(factory=dict)
    """By name; those that are over stay until they are stopped, or one of their name is started."""
    jobs: JobBook = field(factory=JobBook)

    @property
    def alive(self) -> bool:
        """Whether a command may not simply sweep the slot."""
        sessions = [terminal.session for terminal in self.terminals.values()]
        if self.shell is not None:
            sessions.append(self.shell.session)
        return self.jobs.alive or any(not session.gone.is_set() for session in sessions)

    async def end_all(self, why: str) -> bool:
        """Ends every session. False: something is not shown dead; kill the slot.

        Cancellation: shielded, at most 0.5 s for each session, and for all jobs together.
        """
        await trio.lowlevel.cancel_shielded_checkpoint()
        shown = await self.jobs.end_all(why)
        if self.shell is not None:
            self.ended = why
            shown = await self.end_shell() and shown
        for name in list(self.terminals):
            shown = await self.end_terminal(name) and shown
        return shown

    async def end_terminal(self, name: str) -> bool:
        """Ends a terminal, if there is one of that name. False: not shown dead.

        Cancellation: shielded, at most 0.5 s.
        """
        await trio.lowlevel.cancel_shielded_checkpoint()
        terminal = self.terminals.pop(name, None)
        if terminal is None:
            return True
        gone = await terminal.session.end()
        terminal.close()
        return gone

    async def end_shell(self) -> bool:
        """Ends the shell, if there is one. False: not shown dead.

        Cancellation: shielded, at most 0.5 s.
        """
        await trio.lowlevel.cancel_shielded_checkpoint()
        shell, self.shell = self.shell, None
        if shell is None:
            return True
        gone = await shell.session.end()
        shell.close()
        return gone

    def forget(self) -> None:
        """The slot was wiped: whoever gets it hears nothing of what was."""
        if self.shell is not None:
            self.shell.close()
        self.shell, self.shells, self.ended = None, 0, ""
        for terminal in self.terminals.values():
            terminal.close()
        self.terminals.clear()
        self.jobs.forget()
