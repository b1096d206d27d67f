"""A terminal of a slot: a program on a pseudo-terminal whose master the daemon holds.

The raw output goes to a ring of its last bytes and to a recording, both bounded. It is emulated only when
somebody wants the screen, in a thread, and only its last bytes when there are many: a flood that nobody looks
at costs no emulation. The pty is read at a bounded rate, so that a flood waits in the slot and not here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import tempfile
import termios
import time
from functools import partial
from pathlib import Path
from typing import Final

import trio

from sandbox_daemon.agent import protocol
from sandbox_daemon.isolation.cgroups import SlotGroup
from sandbox_daemon.process.command import Exit
from sandbox_daemon.process.link import AgentLink
from sandbox_daemon.process.outcome import AgentLostError
from sandbox_daemon.terminal.asciicast import CastWriter, whole_lines
from sandbox_daemon.terminal.pace import PacedReader
from sandbox_daemon.terminal.ring import ByteRing
from sandbox_daemon.terminal.screen import Emulator, ScreenShot
from sandbox_daemon.terminal.session import Session, start_session
from sandbox_daemon.terminal.writer import SlotWriter

RING_BYTES: Final = 256 * 1024
EMULATED_BYTES: Final = 128 * 1024
"""Of what came since the last look, the last so many bytes are emulated: some hundred screens of text."""
RECORDING_BYTES: Final = 16 * 1024 * 1024
_BYTES_PER_WINDOW: Final = 1024 * 1024
_SETTLED_S: Final = 0.1
_PIECE_BYTES: Final = 4096
_TIOCGSID: Final = 0x5429
"""asm-generic/ioctls.h; Python does not name it."""
_QUERIES: Final = (b"\x1b[6n", b"\x1b[5n", b"\x1b[c", b"\x1b[0c")
_CONTROLS: Final = protocol.pack_environment({"TERM": "xterm-256color", "COLORTERM": "truecolor"})


class Terminal:
    """One terminal. Made by :func:`start_terminal`; it is over when ``session.over`` is set."""

    def __init__(
        self, session: Session, master: int, *, columns: int, rows: int, folder: Path, nursery: trio.Nursery
    ) -> None:
        self.session = session
        self.columns, self.rows = columns, rows
        self.output = ByteRing(RING_BYTES)
        self._master = master
        self._writer = SlotWriter(session.link, os.dup(master), session.over)
        self._nursery = nursery
        self._link = session.link
        self._emulator = Emulator(columns=columns, rows=rows)
        self._emulated = 0
        self.skipped_bytes = 0
        self.followed = 0  # byte of the recording up to which a follower has it
        self._looking = trio.Lock()
        self._news = trio.Event()
        self._began = time.monotonic()
        self._cast = CastWriter(
            columns=columns, rows=rows, timestamp=int(time.time()), max_bytes=RECORDING_BYTES
        )
        self._recording = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by `close`
        self._recording.write(self._cast.header)
        self._asked = False
        self._closed = False
        session.on_end = self._tell
        self._reader = PacedReader(
            self._link, master, self._heard, bytes_per_window=_BYTES_PER_WINDOW, nursery=nursery
        )

    def __repr__(self) -> str:
        state = "over" if self.is_over else "up"
        return f"<Terminal {state} {self.columns}x{self.rows}, {self.output!r}>"

    @property
    def is_over(self) -> bool:
        """Whether its program has ended."""
        return self.session.over.is_set()

    @property
    def status(self) -> int | None:
        """Wait status of its program; ``None`` while it runs, or when the slot's agent was lost."""
        report = self.session.report
        return report.status if isinstance(report, Exit) else None

    # --- output -------------------------------------------------------------------------------------------

    def _heard(self, view: memoryview) -> None:
        data = bytes(view)
        self.output.feed(data)
        self._record(self._cast.output(time.monotonic() - self._began, data))
        if any(query in data for query in _QUERIES) and not self._asked:
            self._asked = True
            self._nursery.start_soon(self._answer_queries, name="answers of a terminal")
        self._tell()

    async def _answer_queries(self) -> None:
        self._asked = False
        with contextlib.suppress(OSError, ValueError, AgentLostError):
            await self._look()
        await trio.lowlevel.checkpoint()

    def _record(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk costs the recording, not the terminal
            self._recording.write(line)

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def wait_output(self, offset: int) -> None:
        """Waits until there is output from ``offset`` on, or there will never be.

        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint()
        while self.output.end <= offset and not self.is_over:
            await self._news.wait()

    async def wait_settled(self, offset: int) -> None:
        """Waits until its first program has the terminal again, and was silent for 0.1 s after that.

        Cancellation: atomic.

        Args:
            offset: output up to here had come when the keys were sent.
        """
        await self.wait_output(offset)
        while not self.is_over:
            news = self._news
            with trio.move_on_after(_SETTLED_S):
                await news.wait()
                continue
            if self._foreground() == self._first_foreground():
                return
            await news.wait()

    def _foreground(self) -> int:
        try:
            return int(struct.unpack("i", fcntl.ioctl(self._master, termios.TIOCGPGRP, b"\0" * 4))[0])
        except OSError:
            return -1

    def _first_foreground(self) -> int:
        """The process group of the leader, which is the terminal's session."""
        try:
            return int(struct.unpack("i", fcntl.ioctl(self._master, _TIOCGSID, b"\0" * 4))[0])
        except OSError:
            return -1

    def recording(self, offset: int, max_bytes: int) -> bytes:
        """Whole lines of the asciicast from this byte on; at least one if there is one and it fits."""
        return whole_lines(os.pread(self._recording.fileno(), max_bytes, offset))

    # --- the screen ---------------------------------------------------------------------------------------

    async def look(self, *, scrollback_lines: int = 0) -> ScreenShot:
        """What is to be seen now.

        Cancellation: atomic; an emulation under way is waited for, some 0.1 s.
        """
        await self._look()
        return self._emulator.shot(scrollback_lines=scrollback_lines)

    async def _look(self) -> None:
        async with self._looking:
            await trio.lowlevel.checkpoint()
            now = self.output.end  # what comes meanwhile is for the next look: a flood has no end
            while self._emulated < now:
                begin = max(self._emulated, now - EMULATED_BYTES, self.output.start)
                self.skipped_bytes += begin - self._emulated
                begin, data = self.output.read(begin, _PIECE_BYTES)
                self._emulated = begin + len(data)
                replies = await trio.to_thread.run_sync(self._emulator.feed, data)
                if replies and not self.is_over:
                    with contextlib.suppress(OSError):
                        self._writer.write_nowait(replies)

    async def resize(self, *, columns: int, rows: int) -> None:
        """The program is told by SIGWINCH.

        Cancellation: atomic.
        """
        await self._look()
        async with self._looking:
            self._emulator.resize(columns=columns, rows=rows)
        self.columns, self.rows = columns, rows
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._record(self._cast.resized(time.monotonic() - self._began, columns=columns, rows=rows))

    async def modes(self) -> tuple[bool, bool]:
        """Whether the program wants application cursor keys, and pastes in brackets.

        Cancellation: atomic.
        """
        await self._look()
        return self._emulator.application_cursor, self._emulator.bracketed_paste

    # --- keys ---------------------------------------------------------------------------------------------

    async def send(self, data: bytes) -> int:
        """Types it all, as fast as the program reads; how much was taken before the program ended.

        Cancellation: abandons; what was taken is typed.
        """
        return await self._writer.send(data)

    def close(self) -> None:
        """Gives up everything. Only once it is over."""
        if self._closed:
            return
        self._closed = True
        self._reader.stop()
        os.close(self._master)
        self._writer.close()
        self._recording.close()


async def start_terminal(
    link: AgentLink,
    groups: SlotGroup,
    argv: tuple[bytes, ...],
    *,
    columns: int,
    rows: int,
    environment: bytes = b"",
    folder: Path,
    nursery: trio.Nursery,
) -> Terminal:
    """A program on a terminal of its own.

    Cancellation: abandons; nothing of it is left.

    Args:
        link: the agent's.
        groups: the slot's.
        argv: absolute path of the program, then its ``argv`` from the name on.
        columns: size at first.
        rows: likewise.
        environment: additions, packed; ``TERM`` is set.
        folder: where the recording lies, without a name.
        nursery: where the terminal's own tasks run.

    Raises:
        AgentLostError: the agent is gone.
        OSError: there is no terminal to be had.
    """
    made = await link.ask(protocol.TERMINAL, (rows, columns))
    if made.kind != protocol.TERMINAL_MADE or len(made.descriptors) != 1:
        made.drop()
        raise OSError(made.fixed[1] if made.kind == protocol.FAILED else errno.EIO, "no terminal")
    master = made.descriptors[0]
    try:
        os.set_blocking(master, False)
        more = _CONTROLS + (b"\0" + environment if environment else b"")
        session = start_session(link, groups, argv, environment=more, terminal=made.strings[0])
        make = partial(Terminal, columns=columns, rows=rows, folder=folder, nursery=nursery)
        return make(session, master)
    except BaseException:
        os.close(master)
        raise
