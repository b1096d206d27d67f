"""Child processes that live exactly as long as a ``async with`` block, and talk in lines.

Theory of operation. A child gets a pipe as standard input and promises to stop when that ends. So it stops
when its block is left, and also when this process dies without a word: nothing has to be found and killed
later. It runs in a session of its own, so that Ctrl-C reaches only the process in front, which then unwinds
in order.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from hermes_trio.errors import LostError

CHECKOUT = Path(__file__).resolve().parents[2]
GRACE_S = 30.0
"""For a child to stop by itself once its input ended: a daemon with many slots resets them first."""
_KILL_S = 5.0
_LINE_BYTES = 8 * 1024 * 1024
"""Longest line taken from a child: a result with a few histograms is some 20 KB."""


class LineReader:
    """Whole lines out of a byte stream."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._held = bytearray()

    async def read_line(self) -> bytes | None:
        """The next line without its end; ``None`` at the end of the stream.

        Cancellation: *atomic*.
        """
        await trio.lowlevel.checkpoint()
        while (end := self._held.find(b"\n")) < 0:
            if len(self._held) > _LINE_BYTES:
                raise LostError("a child process sent a line without end")
            chunk = await self._stream.receive_some(65_536)
            if not chunk:
                return None
            self._held += chunk
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line


class Child:
    """A running child. Made by :func:`open_child`."""

    def __init__(self, process: trio.Process, name: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.name = name
        self._process = process
        self._input = process.stdin
        self._lines = LineReader(process.stdout)

    def __repr__(self) -> str:
        return f"<Child {self.name} pid={self._process.pid} returncode={self._process.returncode}>"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def read_line(self) -> bytes:
        """The next line it writes.

        Cancellation: *atomic*.

        Raises:
            LostError: it has ended.
        """
        line = await self._lines.read_line()
        if line is None:
            raise LostError(f"{self.name} ended without an answer; its last words are on standard error")
        return line

    async def write_line(self, line: bytes) -> None:
        """Sends it one line.

        Cancellation: *poisons*: half a line may have left.

        Raises:
            LostError: it has ended.
        """
        try:
            await self._input.send_all(line)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LostError(f"{self.name} ended: it takes no more requests") from error

    async def _stop(self) -> None:
        """Asks it to end, then makes it; bounded by both graces together."""
        await self._input.aclose()
        with trio.move_on_after(GRACE_S):
            await self._process.wait()
        if self._process.returncode is None:
            self._process.kill()
            with trio.move_on_after(_KILL_S):
                await self._process.wait()


def child_environment() -> dict[str, str]:
    """Ours, with the checkout in front of the import path: a child does not inherit ``sys.path``."""
    paths = [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@asynccontextmanager
async def open_child(module: str, arguments: Sequence[str] = ()) -> AsyncIterator[Child]:
    """Runs ``python -m module arguments`` for as long as the block lasts.

    Cancellation: *shielded, at most 36 s*: the child is stopped before the block is left.
    """
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment(),
        start_new_session=True,
    )
    child = Child(process, module)
    try:
        yield child
    finally:
        with trio.CancelScope(deadline=trio.current_time() + GRACE_S + _KILL_S + 1, shield=True):
            await child._stop()
