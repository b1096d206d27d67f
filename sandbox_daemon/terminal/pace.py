"""Reading what a slot prints at a bounded rate, so that a flood waits in the slot and not here."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import trio

from sandbox_daemon.process.link import AgentLink

_WINDOW_S: Final = 0.1

_chunk = bytearray(64 * 1024)
"""Shared by all: it is only used between two checkpoints of one thread."""
_view = memoryview(_chunk)


class PacedReader:
    """Reads a descriptor as it becomes readable, until its end or :meth:`stop`.

    Args:
        link: whose pump watches it.
        descriptor: non-blocking; it stays the caller's.
        take: gets each piece, in a view that is reused afterwards.
        bytes_per_window: in a tenth of a second; one read may exceed it.
        nursery: where the wait for the next window is.
    """

    def __init__(
        self,
        link: AgentLink,
        descriptor: int,
        take: Callable[[memoryview], None],
        *,
        bytes_per_window: int,
        nursery: trio.Nursery,
    ) -> None:
        self._link = link
        self._descriptor = descriptor
        self._take = take
        self._bytes_per_window = bytes_per_window
        self._nursery = nursery
        self._window = (0.0, 0)
        self._stopped = False
        link.watch(descriptor, self._read)

    def __repr__(self) -> str:
        return f"<PacedReader of {self._descriptor}{' stopped' if self._stopped else ''}>"

    def stop(self) -> None:
        """No more. Before the descriptor is closed."""
        self._stopped = True
        self._link.unwatch(self._descriptor)

    def drain(self, max_bytes: int) -> None:
        """Takes what is there now, at any rate; for when nobody is left who could write more."""
        taken = 0
        while taken < max_bytes and (size := self._read_once()) > 0:
            taken += size

    def _read(self) -> None:
        size = self._read_once()
        if size == 0:
            self._link.unwatch(self._descriptor)
        elif size > 0:
            self._slow_down(size)

    def _read_once(self) -> int:
        """How much came: 0 for the end, -1 for nothing now."""
        try:
            size = os.readv(self._descriptor, [_chunk])
        except BlockingIOError:
            return -1
        except OSError:  # EIO: nobody has the other end of a terminal open any more
            return 0
        if size:
            self._take(_view[:size])
        return size

    def _slow_down(self, size: int) -> None:
        began, taken = self._window
        now = trio.current_time()
        if now - began > _WINDOW_S:
            began, taken = now, 0
        self._window = (began, taken + size)
        if taken + size > self._bytes_per_window:
            self._link.unwatch(self._descriptor)
            self._nursery.start_soon(self._read_on, began + _WINDOW_S, name="rest of a flood")

    async def _read_on(self, at: float) -> None:
        await trio.sleep_until(at)
        if not self._stopped and self._link.lost is None:
            self._link.watch(self._descriptor, self._read)
