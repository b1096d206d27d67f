"""A terminal of a trajectory's slot, as a program of ours drives it: keys, output, screen, recording."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Protocol

import trio
from attrs import frozen

from hermes_trio.errors import InvalidInputError, Provenance, SandboxLostError, UnavailableError
from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.files import NO_SLOT
from hermes_trio.fleet.calls import CallRecord
from hermes_trio.wire.frames import Result
from hermes_trio.wire.operations import Operation, TerminalAction

PIECE_BYTES: Final = 256 * 1024
"""Of what is typed, sent or fetched at once; a link carries other calls between the pieces."""
_POLL_S: Final = 20.0
"""How long a question for output waits at the daemon. Longer saves nothing, and costs who leaves."""


@frozen(kw_only=True)
class TerminalOutput:
    """A piece of raw output. ``offset`` is where it begins: a gap means that older output is gone."""

    offset: int
    data: bytes


@frozen(kw_only=True)
class Screen:
    """What a terminal shows. Lines end before the spaces at their ends.

    Args:
        lines: of the screen, from the top.
        scrollback: above them, as many as were asked for and are kept.
        cursor: row and column, from 0.
        alternate: a full-screen program is drawing.
        columns: of the terminal.
        rows: likewise.
        running: its program has not ended.
        exit_code: of the program; 128 + signal number when a signal ended it.
        offset: up to which byte of the output this is true.
        skipped_bytes: of a flood, which were never emulated.
    """

    lines: tuple[str, ...]
    scrollback: tuple[str, ...]
    cursor: tuple[int, int]
    alternate: bool
    columns: int
    rows: int
    running: bool
    exit_code: int | None
    offset: int
    skipped_bytes: int

    @property
    def text(self) -> str:
        """The screen as one string, without the empty lines below."""
        return "\n".join(self.lines).rstrip("\n")


class _Road(Protocol):
    async def operate(self, record: CallRecord) -> None:
        """Send a call to its trajectory's slot, and wait for its end. Cancellation: abandons."""


class Terminal:
    """Made by :meth:`~hermes_trio.executor.executor.Executor.open_terminal`.

    Several tasks may use it at once. Every method raises ``UnavailableError`` when there is no such terminal
    any more, and ``LostError`` when the slot is gone.
    """

    def __init__(self, road: _Road, trajectory_id: str, *, name: str) -> None:
        self._road = road
        self.trajectory_id = trajectory_id
        self.name = name
        self._typing = trio.Lock()

    def __repr__(self) -> str:
        return f"<Terminal {self.name!r} of {self.trajectory_id!r}>"

    async def start(self, **arguments: Any) -> None:
        """Part of :meth:`Executor.open_terminal`. Cancellation: abandons; one that was started stays."""
        await self._ask(TerminalAction.START, **arguments)

    async def send(self, data: bytes | str, *, paste: bool = False) -> None:
        """Types it all, as fast as the program reads. Calls do not mix.

        Cancellation: abandons; what was typed is typed.

        Args:
            data: bytes as a keyboard would send them, of any number; text is sent as UTF-8.
            paste: in brackets, when the program asked for that.
        """
        rest = memoryview(data.encode() if isinstance(data, str) else data)
        async with self._typing:
            if paste:
                rest = rest[await self._paste(bytes(rest)) :]
            while rest:
                result = await self._ask(TerminalAction.SEND, payload=bytes(rest[:PIECE_BYTES]))
                if result.data["sent_bytes"] < len(rest[:PIECE_BYTES]):
                    raise UnavailableError("The program of the terminal ended before all was typed.")
                rest = rest[PIECE_BYTES:]

    async def _paste(self, data: bytes) -> int:
        """Brackets go around all of it, so it is one call; more than a message takes is typed instead."""
        if len(data) > 8 * PIECE_BYTES:
            await trio.lowlevel.checkpoint()
            return 0
        await self._ask(TerminalAction.SEND, payload=data, paste=True)
        return len(data)

    async def press(self, *keys: str) -> None:
        """Presses keys by their tmux names, ``C-c`` or ``Up`` for instance.

        Cancellation: abandons; what was typed is typed.
        """
        await self._ask(TerminalAction.SEND, keys=keys)

    async def resize(self, *, columns: int, rows: int) -> None:
        """Changes the size; the program is told.

        Cancellation: abandons.
        """
        await self._ask(TerminalAction.RESIZE, columns=columns, rows=rows)

    def output(self, offset: int = 0) -> OutputStream:
        """Raw output from ``offset`` on, as it comes, until the program has ended: an async iterator.

        The daemon keeps the last 256 KiB for whoever comes late or reads slowly; what is older is missing,
        and the offsets tell.
        """
        return OutputStream(self, offset)

    async def read_output(self, offset: int) -> TerminalOutput | None:
        """What came from ``offset`` on; waits for it. ``None``: the program has ended, and that was all.

        Cancellation: abandons; nothing is lost.
        """
        while True:
            result = await self._ask(
                TerminalAction.OUTPUT, offset=offset, max_bytes=PIECE_BYTES, max_wait_s=_POLL_S
            )
            if result.payload:
                return TerminalOutput(offset=result.data["first_offset"], data=result.payload)
            if not result.data["running"]:
                return None

    async def capture(self, *, scrollback_lines: int = 0) -> Screen:
        """What is to be seen now.

        Cancellation: abandons.

        Args:
            scrollback_lines: how many lines above the screen, at most 1,000.
        """
        result = await self._ask(
            TerminalAction.CAPTURE, scrollback_lines=scrollback_lines, max_bytes=8 * PIECE_BYTES
        )
        data = result.data
        lines = tuple(result.payload.decode("utf-8", "replace").split("\n"))
        above = len(lines) - data["screen_lines"]
        return Screen(
            lines=lines[above:],
            scrollback=lines[:above],
            cursor=(data["cursor"][0], data["cursor"][1]),
            **{name: data[name] for name in _SCREEN_MEMBERS},
        )

    async def recording(self) -> bytes:
        """Everything so far as asciicast v2, at most 16 MiB.

        Cancellation: abandons.
        """
        pieces: list[bytes] = []
        offset = 0
        while piece := await self.read_recording(offset):
            pieces.append(piece)
            offset += len(piece)
        return b"".join(pieces)

    async def read_recording(self, offset: int) -> bytes:
        """Whole lines of the recording from byte ``offset`` on, at most 2 MiB; empty: that is all so far.

        Cancellation: abandons.
        """
        result = await self._ask(TerminalAction.RECORDING, offset=offset, max_bytes=8 * PIECE_BYTES)
        return result.payload

    async def stop(self) -> None:
        """Ends it with everything in it, and forgets it, its recording too. Idempotent.

        Cancellation: abandons; it ends all the same.
        """
        await self._ask(TerminalAction.STOP)

    async def _ask(self, action: TerminalAction, *, payload: bytes = b"", **arguments: Any) -> Result:
        record = CallRecord(
            operation=Operation.TERMINAL,
            arguments={"action": action, "name": self.name, **arguments},
            trajectory_id=self.trajectory_id,
            payload=payload,
        )
        await self._road.operate(record)
        result = record.unwrap()
        match result.provenance:
            case Provenance.OK:
                return result
            case Provenance.SANDBOX_LOST:
                raise SandboxLostError(result.error)
            case Provenance.INVALID_REQUEST:
                raise InvalidInputError(result.error)
            case _:
                raise UnavailableError(result.error)


class OutputStream(AsyncIterator[TerminalOutput]):
    """See :meth:`Terminal.output`. ``offset`` is where the next piece begins."""

    def __init__(self, terminal: Terminal, offset: int) -> None:
        self._terminal = terminal
        self.offset = offset

    def __repr__(self) -> str:
        return f"<OutputStream of {self._terminal!r} at {self.offset}>"

    def __aiter__(self) -> OutputStream:
        """Itself."""
        return self

    async def __anext__(self) -> TerminalOutput:
        """The next piece.

        Cancellation: abandons; nothing is lost.
        """
        piece = await self._terminal.read_output(self.offset)
        if piece is None:
            raise StopAsyncIteration
        self.offset = piece.offset + len(piece.data)
        return piece


_SCREEN_MEMBERS: Final = (
    "alternate",
    "columns",
    "rows",
    "running",
    "exit_code",
    "offset",
    "skipped_bytes",
)


class TerminalMethods(ABC):
    """Mixed into the executor, which brings the road."""

    @property
    @abstractmethod
    def config(self) -> ExecutorConfig:
        """The settings it was opened with."""

    @abstractmethod
    def has_slot(self, trajectory_id: str) -> bool:
        """Whether the trajectory has a slot, or is about to get one."""

    @abstractmethod
    def refusal(self, trajectory_id: str) -> str:
        """Why a trajectory's calls are refused now; empty when they are not."""

    @abstractmethod
    async def operate(self, record: CallRecord) -> None:
        """Send a call to its trajectory's slot, and wait for its end. Cancellation: abandons."""

    async def open_terminal(
        self,
        trajectory_id: str,
        *,
        argv: Sequence[str] = (),
        columns: int = 120,
        rows: int = 40,
        name: str = "main",
    ) -> Terminal:
        """A program on a terminal of the trajectory's slot; one of that name that runs is taken over.

        It lives until it is stopped, its program ends, or the slot is released, reset or quiesced, and
        outlives a lost link. Nobody has to hold the object.

        Cancellation: abandons; a terminal that was started stays.

        Args:
            trajectory_id: whose slot.
            argv: the program, looked for in ``PATH``, and its arguments; empty: an interactive bash.
            columns: 20 to 500.
            rows: 10 to 200.
            name: tells the terminals of a slot apart; ``main`` is the one of the tool ``tmux``.

        Raises:
            InvalidInputError: an argument makes no sense.
            UnavailableError: it could not be started, or the trajectory was quiesced.
            LostError: the slot is gone.
        """
        if refusal := self.refusal(trajectory_id):
            await trio.lowlevel.checkpoint()
            raise UnavailableError(refusal)
        terminal = Terminal(self, trajectory_id, name=name)
        rights = {
            "allow_network": self.config.allow_network,
            "require_stateful_sandbox": self.config.require_stateful_sandbox,
        }
        await terminal.start(argv=tuple(argv), columns=columns, rows=rows, **rights)
        return terminal

    async def recording(self, trajectory_id: str, *, name: str = "main") -> bytes:
        """The recording of a terminal so far: asciicast v2, at most 16 MiB.

        Cancellation: abandons.

        Raises:
            UnavailableError: the trajectory has no such terminal.
            LostError: the slot is gone.
        """
        if not self.has_slot(trajectory_id):
            await trio.lowlevel.checkpoint()
            raise UnavailableError(NO_SLOT)
        return await Terminal(self, trajectory_id, name=name).recording()
