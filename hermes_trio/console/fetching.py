"""The recordings of slots' own terminals, fetched from their daemons while somebody watches.

A daemon records each terminal of a slot from its beginning on, and forgets it with the slot. So what is new
is fetched once a second, of a few terminals at a time: the agent's session can still be played when it is
over. What the last second before the end brought may be missing: a release waits for nobody who watches.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final

import trio
from attrs import define

from hermes_trio.console.recordings import FetchedRecording, Recordings
from hermes_trio.errors import HermesTrioError
from hermes_trio.executor.executor import Executor
from hermes_trio.executor.terminals import Terminal

MAX_AT_ONCE: Final = 16
FETCH_LIMIT_S: Final = 5.0


@define(eq=False)
class Fetching:
    """Of one executor.

    Args:
        executor: in whose slots the terminals are.
        recordings: where what was fetched goes.
    """

    executor: Executor
    recordings: Recordings

    def see(self) -> None:
        """Which terminals there are now."""
        alive = ((each.number, each.trajectory_id, each.name) for each in self.executor.live_terminals())
        self.recordings.see(alive, now=trio.current_time())

    async def fetch_some(self) -> None:
        """Of a few terminals, what is new.

        Cancellation: abandons; nothing is lost.
        """
        await trio.lowlevel.checkpoint()
        self.see()
        with trio.move_on_after(FETCH_LIMIT_S):
            async with trio.open_nursery() as nursery:
                for recording in self.recordings.to_fetch(MAX_AT_ONCE):
                    nursery.start_soon(self._fetch_piece, recording)

    async def fetch_all(self, recording: FetchedRecording) -> None:
        """Of one terminal, everything up to now: somebody wants to see it.

        Cancellation: abandons; nothing is lost.
        """
        with trio.move_on_after(FETCH_LIMIT_S):
            await trio.lowlevel.checkpoint()
            while recording.live and not recording.cut and await self._fetch_piece(recording):
                pass
        await trio.lowlevel.checkpoint()

    async def _fetch_piece(self, recording: FetchedRecording) -> bool:
        """Whether there was something."""
        at, piece = recording.offset, b""
        terminal = Terminal(self.executor, recording.trajectory, name=recording.terminal)
        # It may just have ended, and its slot may have gone.
        with suppress(HermesTrioError):
            if self.executor.holds_slot(recording.trajectory):
                piece = await terminal.read_recording(at)
        recording.take(piece, at=at, wall_offset_s=time.time() - trio.current_time())
        await trio.lowlevel.checkpoint()
        return bool(piece)
