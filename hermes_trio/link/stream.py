"""The worker's end of one call's output: as much as the caller has given credit for, piece by piece.

What a command prints is fed in; each time the writer comes by, one small chunk goes out, and the call queues
up again behind the others. A caller that takes nothing gives no credit: then nothing is posted, the feeder is
told to stop, and the command blocks on its full pipe. Nobody else notices.

Worst case held here: ``high_water_bytes`` and one piece more, and at the end of a command what was left
in its pipes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from hermes_trio.link.pump import Pump
from hermes_trio.wire.frames import Call, Stream
from hermes_trio.wire.session import Session

CHUNK_BYTES: Final = 16 * 1024
"""Small, so that a flood takes turns with everything else on the link."""
HIGH_WATER_BYTES: Final = 64 * 1024

_STREAMS: Final = {1: Stream.STDOUT, 2: Stream.STDERR, 3: Stream.DATA}


def _nobody_waits() -> None:
    pass


class OutgoingStream:
    """One call's output on its way.

    Args:
        pump: drives the session.
        call: the call; its ``accepted`` has been posted before anything is fed.
        chunk_bytes: most bytes of a frame.
        high_water_bytes: how much is taken before the feeder is told to stop.

    Attributes:
        resume: called once after each :meth:`feed` that returned false, when there is room again.
    """

    def __init__(
        self,
        pump: Pump,
        call: Call,
        *,
        chunk_bytes: int = CHUNK_BYTES,
        high_water_bytes: int = HIGH_WATER_BYTES,
    ) -> None:
        self.resume: Callable[[], None] = _nobody_waits
        self._pump = pump
        self._call = call
        self._chunk_bytes = chunk_bytes
        self._high_water_bytes = high_water_bytes
        self._pieces: deque[tuple[Stream, bytes]] = deque()
        self._held_bytes = 0
        self._full = self._posted = self._closed = False
        self._empty = trio.Event()
        self._empty.set()

    def __repr__(self) -> str:
        return f"<OutgoingStream of call {self._call.call_id}: {self._held_bytes} bytes held>"

    def feed(self, stream: int, data: memoryview | bytes) -> bool:
        """Take a piece of a stream: 1 or 2, or 3 for data; it is copied.

        False: no more until ``resume`` is called.
        """
        if self._closed:
            return True
        if self._empty.is_set():
            self._empty = trio.Event()
        self._pieces.append((_STREAMS[stream], bytes(data)))
        self._held_bytes += len(data)
        self.more()
        self._full = self._held_bytes >= self._high_water_bytes
        return not self._full

    def more(self) -> None:
        """There may be something to send: a piece came, or credit."""
        if self._pieces and not self._posted:
            self._posted = True
            self._pump.post(self._write, lane=self._call.trajectory_id)

    async def wait_taken(self) -> None:
        """Wait until everything was handed on.

        Cancellation: atomic.
        """
        await self._empty.wait()

    def close(self) -> None:
        """Drop what is left. The call is over, or nobody wants it any more."""
        self._closed = True
        self._pieces.clear()
        self._held_bytes = 0
        self._empty.set()
        self._wake_feeder()

    def _write(self, session: Session) -> None:
        """One chunk, if there is credit for it."""
        self._posted = False
        if not self._pieces:
            return
        room = min(self._chunk_bytes, session.output_room(self._call.call_id))
        if not room:
            return  # credit will come, or a cancel
        stream, piece = self._pieces.popleft()
        if len(piece) > room:
            self._pieces.appendleft((stream, piece[room:]))
        session.output(self._call.call_id, stream, piece[:room])
        self._held_bytes -= min(room, len(piece))
        if self._held_bytes <= self._high_water_bytes // 2:
            self._wake_feeder()
        if self._pieces:
            self.more()
        else:
            self._empty.set()

    def _wake_feeder(self) -> None:
        if self._full:
            self._full = False
            self.resume()
