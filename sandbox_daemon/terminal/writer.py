"""Writing to a program of a slot, as fast as it reads."""

from __future__ import annotations

import errno
import os
import select
from typing import Final

import trio

from sandbox_daemon.process.link import AgentLink

_PIECE_BYTES: Final = 4096
_NOBODY_READS: Final = frozenset({errno.EIO, errno.EPIPE})


class SlotWriter:
    """The writing end of a terminal or a pipe.

    Args:
        link: whose pump tells when there is room.
        descriptor: non-blocking; closed by :meth:`close`.
        over: set when the program has ended.
    """

    def __init__(self, link: AgentLink, descriptor: int, over: trio.Event) -> None:
        self._link = link
        self._descriptor = descriptor
        self._over = over
        self._lock = trio.Lock()
        self.closed = False

    def __repr__(self) -> str:
        return f"<SlotWriter to {self._descriptor}{' closed' if self.closed else ''}>"

    async def send(self, data: bytes, *, eof: bool = False) -> int:
        """Writes it all; how much was taken before the program ended, or read no more. Calls do not mix.

        Cancellation: abandons; what was taken is taken.
        """
        view = memoryview(data)
        async with self._lock:
            while view and not (self.closed or self._over.is_set()):
                try:
                    view = view[os.write(self._descriptor, view[:_PIECE_BYTES]) :]
                except BlockingIOError:
                    await self._wait_writable()
                except OSError as error:
                    if error.errno not in _NOBODY_READS:
                        raise
                    break
                else:
                    await trio.lowlevel.checkpoint()
            if eof:
                self.close()
        return len(data) - len(view)

    def write_nowait(self, data: bytes) -> None:
        """An answer of ours, past everybody who waits. ``OSError`` when there is no room for it."""
        if self.closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        os.write(self._descriptor, data)

    async def _wait_writable(self) -> None:
        ready = trio.Event()
        self._link.watch(self._descriptor, ready.set, events=select.EPOLLOUT)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_set_after, self._over, ready)
                await ready.wait()
                nursery.cancel_scope.cancel()
        finally:
            if not self.closed:  # else the number may be another file's by now
                self._link.unwatch(self._descriptor)

    def close(self) -> None:
        """The end of what it is sent. Idempotent."""
        if not self.closed:
            self.closed = True
            self._link.unwatch(self._descriptor)
            os.close(self._descriptor)


async def _set_after(first: trio.Event, then: trio.Event) -> None:
    await first.wait()
    then.set()
