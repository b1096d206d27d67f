"""The terminal of a slot, as a console attaches to it: the one that the agent itself has, if it has one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hermes_trio.errors import InvalidInputError
from hermes_trio.executor.executor import Executor
from hermes_trio.executor.terminals import Terminal


class SlotTerminal:
    """A ``TerminalSession`` of a slot.

    Args:
        terminal: that runs.
        columns: of it, now.
        rows: likewise.
    """

    def __init__(self, terminal: Terminal, *, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._terminal = terminal
        self._offset = 0

    def __repr__(self) -> str:
        return f"<SlotTerminal {self._terminal!r}, {self._offset} bytes seen>"

    async def receive_some(self) -> bytes:
        """What it printed, from the oldest that is kept on; empty: it is over.

        Cancellation: abandons; nothing is lost.
        """
        piece = await self._terminal.read_output(self._offset)
        if piece is None:
            return b""
        self._offset = piece.offset + len(piece.data)
        return piece.data

    async def send_all(self, data: bytes) -> None:
        """Type. Cancellation: abandons; what was typed is typed."""
        await self._terminal.send(data)

    async def resize(self, *, columns: int, rows: int) -> None:
        """Change its size. Cancellation: abandons."""
        await self._terminal.resize(columns=columns, rows=rows)


@asynccontextmanager
async def open_slot_terminal(
    executor: Executor, trajectory_id: str, *, columns: int, rows: int
) -> AsyncIterator[SlotTerminal]:
    """Attach to the terminal of a trajectory's slot; where there is none, a shell is started on one.

    It stays when the block is left: it belongs to the slot, and ends with it.

    Cancellation: abandons.

    Args:
        executor: of the trajectory.
        trajectory_id: one that holds a slot.
        columns: of a terminal that has to be started; one that runs keeps its size.
        rows: likewise.

    Raises:
        InvalidInputError: it holds no slot.
        UnavailableError: no terminal could be started.
        LostError: the slot is gone.
    """
    if not executor.has_slot(trajectory_id):
        raise InvalidInputError(f"{trajectory_id} has no slot now", field="trajectory")
    terminal = await executor.open_terminal(trajectory_id, columns=columns, rows=rows)
    screen = await terminal.capture()
    yield SlotTerminal(terminal, columns=screen.columns, rows=screen.rows)
