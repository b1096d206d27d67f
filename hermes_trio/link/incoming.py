"""The worker's end of one call's input: as much of it as credit was given for, piece by piece.

Credit follows what was taken out, so at most ``window_bytes`` wait here. Whoever takes nothing stops its own
caller, and nobody else.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from hermes_trio.link.pump import Pump
from hermes_trio.wire.frames import Call, Input
from hermes_trio.wire.session import CallState, Session

WINDOW_BYTES: Final = 8 * 1024 * 1024


class IncomingStream:
    """One call's input on its way in.

    Args:
        pump: drives the session.
        call: the call, whose ``accepted`` gives credit for ``window_bytes``.
        window_bytes: most that may wait here.
    """

    def __init__(self, pump: Pump, call: Call, *, window_bytes: int = WINDOW_BYTES) -> None:
        self.window_bytes = window_bytes
        self._pump = pump
        self._call = call
        self._pieces: deque[bytes] = deque()
        self._news = trio.Event()
        self._ended = False
        self._taken_bytes = 0
        self._granted_bytes = window_bytes

    def __repr__(self) -> str:
        waiting = sum(map(len, self._pieces))
        state = "ended" if self._ended else "open"
        return f"<IncomingStream of call {self._call.call_id}: {state}, {waiting} bytes wait>"

    def hear(self, piece: Input) -> None:
        """The next chunk."""
        if piece.payload:
            self._pieces.append(piece.payload)
        self._ended = piece.eof
        self._news.set()

    async def receive(self) -> bytes:
        """The next chunk; empty at the end.

        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint()
        while not self._pieces and not self._ended:
            self._news = trio.Event()
            await self._news.wait()
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        self._taken_bytes += len(piece)
        if self._granted_bytes - self._taken_bytes <= self.window_bytes // 2 and not self._ended:
            self._granted_bytes = self._taken_bytes + self.window_bytes
            self._pump.post(self._grant)
        return piece

    def _grant(self, session: Session) -> None:
        if session.state_of(self._call.call_id) is CallState.RUNNING:  # else nobody wants it any more
            session.credit(self._call.call_id, self._granted_bytes)
