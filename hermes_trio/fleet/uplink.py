"""The caller's end of one call's input: pieces in, frames out as far as there is credit.

Each time the writer comes by, one chunk goes out, and the call queues up again behind the others. A worker
that takes nothing gives no credit: then nothing is posted, and the sender waits.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import trio
from attrs import define, field

from hermes_trio.link.pump import Pump
from hermes_trio.wire.session import Session

if TYPE_CHECKING:
    from hermes_trio.fleet.calls import CallRecord

CHUNK_BYTES: Final = 256 * 1024
"""A turn's worth: 2 ms of both ends at most, and few enough of them that turns cost less than bytes."""
HIGH_WATER_BYTES: Final = 1024 * 1024
"""Held for the writer; above it the sender waits."""


@define(eq=False)
class Uplink:
    """What one call is sent. Belongs to a :class:`CallRecord`, and is fed by the task that waits for it."""

    _pieces: deque[memoryview] = field(factory=deque, repr=False)
    _held_bytes: int = 0
    _ended: bool = False  # no piece follows
    _said_end: bool = False
    _posted: bool = False
    _closed: bool = False  # the call is over
    _room: trio.Event = field(factory=trio.Event, repr=False)
    _road: tuple[Pump, CallRecord] | None = field(default=None, repr=False)

    async def send(self, data: bytes) -> bool:
        """Take a piece, and wait while too much is held. False: the call is over, and nothing is wanted.

        Cancellation: abandons what was taken; meant for calls that end with their sender.
        """
        await trio.lowlevel.checkpoint()
        if data:
            self._pieces.append(memoryview(data))
            self._held_bytes += len(data)
            self.more()
        while self._held_bytes > HIGH_WATER_BYTES and not self._closed:
            self._room = trio.Event()
            await self._room.wait()
        return not self._closed

    def end(self) -> None:
        """No piece follows."""
        self._ended = True
        self.more()

    def close(self) -> None:
        """The call is over."""
        self._closed = True
        self._pieces.clear()
        self._room.set()

    def begin(self, pump: Pump, record: CallRecord) -> None:
        """The worker has begun, and gives credit."""
        self._road = pump, record
        self.more()

    def more(self) -> None:
        """There may be something to send: a piece came, or credit."""
        waits = bool(self._pieces) or (self._ended and not self._said_end)
        if waits and self._road is not None and not self._posted and not self._closed:
            self._posted = True
            pump, record = self._road
            pump.post(self._write, lane=record.trajectory_id)

    def _write(self, session: Session) -> None:
        """One chunk, if there is credit for it."""
        self._posted = False
        if self._closed or self._road is None:
            return
        _, record = self._road
        assert record.call_id is not None
        if record.cancelling:
            return  # its end is on the way
        room = min(CHUNK_BYTES, session.input_room(record.call_id))
        if self._pieces and not room:
            return  # credit will come, or the end
        chunk = self._take(room)
        self._said_end = self._ended and not self._pieces
        session.input(record.call_id, chunk, eof=self._said_end)
        self.more()

    def _take(self, room: int) -> bytes:
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        if len(piece) > room:
            self._pieces.appendleft(piece[room:])
        chunk = bytes(piece[:room])
        self._held_bytes -= len(chunk)
        if self._held_bytes <= HIGH_WATER_BYTES // 2:
            self._room.set()
        return chunk
