"""Which sessions a slot has, and their end."""

from __future__ import annotations

import trio
from attrs import define

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

    @property
    def alive(self) -> bool:
        """Whether a command may not simply sweep the slot."""
        return self.shell is not None and not self.shell.session.gone.is_set()

    async def end_all(self, why: str) -> bool:
        """Ends every session. False: something is not shown dead; kill the slot.

        Cancellation: shielded, at most 0.5 s for each session.
        """
        await trio.lowlevel.cancel_shielded_checkpoint()
        shown = True
        if self.shell is not None:
            self.ended = why
            shown = await self.end_shell()
        return shown

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
