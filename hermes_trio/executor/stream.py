"""A call whose output arrives as it is printed: an iterator of chunks, whose last item is the result.

The daemon sends no more than it has credit for, and credit follows what was taken out of the iterator. So
at most :data:`WINDOW_BYTES` wait here, and a consumer that stops reading stops its own command, and nothing
else.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol

import trio
from attrs import define, field, frozen

from hermes_trio.executor.plan import RunInSlot
from hermes_trio.executor.watch import LiveCall
from hermes_trio.fleet.calls import CallRecord
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.wire.frames import Output

WINDOW_BYTES: Final = 256 * 1024


@frozen
class OutputChunk:
    """A piece of output, in the order in which the command printed it, as far as that can be known."""

    stream: str
    """``stdout`` or ``stderr``."""
    data: bytes
    """Bytes: a character may lie across two chunks."""


@define(eq=False)
class _Arrivals:
    """What has come of a call. Apart from the stream, which must be free to go while the call still runs."""

    chunks: deque[OutputChunk] = field(factory=deque)
    news: trio.Event = field(factory=trio.Event)

    def hear(self, output: Output) -> None:
        self.chunks.append(OutputChunk(output.stream.value, output.payload))
        self.wake()

    def done(self, _record: CallRecord) -> None:
        self.wake()

    def wake(self) -> None:
        self.news.set()
        self.news = trio.Event()


class Road(Protocol):
    """What a stream needs of its executor."""

    def submit_streamed(
        self, trajectory_id: str, call: ToolCall, limit_s: float | None, **streaming: Any
    ) -> Sent | None:
        """Send the call; ``None``: it has no output on the way."""

    def grant(self, record: CallRecord, limit_bytes: int) -> None:
        """Welcome output up to this byte."""

    def abandon(self, sent: Sent) -> bool:
        """End the call; true: its end is still to come."""

    async def leave(self, sent: Sent) -> None:
        """End the call, and wait until it is dead.

        Cancellation: shielded, at most ``config.kill_grace_s`` s.
        """

    def settle(self, sent: Sent) -> ToolResult:
        """The result of a call that has ended."""

    async def execute(
        self, trajectory_id: str, call: ToolCall, *, limit_s: float | None = None
    ) -> ToolResult:
        """For calls that have no output on the way. Cancellation: abandons."""
        ...


@frozen(eq=False)
class Sent:
    """A call on its way, and what is needed to make a tool result of its end."""

    live: LiveCall
    plan: RunInSlot
    record: CallRecord


class ToolStream(AsyncIterator[OutputChunk | ToolResult]):
    """Made by :meth:`~hermes_trio.executor.executor.Executor.stream`. For one task at a time.

    Use it as ``async with executor.stream(...) as stream``, or iterate to the end. One that is dropped
    half-way ends its call too, with a ``ResourceWarning``, but nobody waits for the proof that it is dead.
    """

    def __init__(self, road: Road, trajectory_id: str, call: ToolCall, limit_s: float | None) -> None:
        self._road = road
        self._what = trajectory_id, call, limit_s
        self._arrivals = _Arrivals()
        self._taken = 0
        self._granted = WINDOW_BYTES
        self._sent: Sent | None = None
        self._over = False

    def __repr__(self) -> str:
        state = "over" if self._over else "running" if self._sent else "not begun"
        return f"<ToolStream {state}, {self._taken} bytes taken, {len(self._arrivals.chunks)} chunks wait>"

    async def __aenter__(self) -> ToolStream:
        """Nothing happens yet. Cancellation: atomic."""
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *_: object) -> None:
        """See :meth:`aclose`. Cancellation: shielded, at most ``config.kill_grace_s`` s."""
        await self.aclose()

    def __aiter__(self) -> ToolStream:
        """Itself."""
        return self

    async def __anext__(self) -> OutputChunk | ToolResult:
        """The next chunk, or the result, which is the last item.

        Cancellation: abandons. The call is ended at the daemon, and this returns only after its whole process
        tree is gone (shielded, at most ``config.kill_grace_s`` s).

        Raises:
            ClosedError: the executor was closed.
        """
        await trio.lowlevel.checkpoint()
        if self._over:
            raise StopAsyncIteration
        if self._sent is None:
            trajectory_id, call, limit_s = self._what
            self._sent = self._road.submit_streamed(
                trajectory_id,
                call,
                limit_s,
                output_credit=WINDOW_BYTES,
                on_output=self._arrivals.hear,
                on_done=self._arrivals.done,
            )
            if self._sent is None:
                self._over = True
                return await self._road.execute(trajectory_id, call, limit_s=limit_s)
        await self._wait_news(self._sent.record)
        if self._arrivals.chunks:
            return self._take(self._sent.record)
        self._over = True
        return self._road.settle(self._sent)

    async def aclose(self) -> None:
        """End the call if it still runs. Idempotent.

        Cancellation: shielded, at most ``config.kill_grace_s`` s.
        """
        over, self._over = self._over, True
        if self._sent is not None and not over:
            await self._road.leave(self._sent)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def __del__(self) -> None:
        """Whoever forgot it must not leave a command behind."""
        if self._sent is not None and not self._over:
            self._road.abandon(self._sent)
            warnings.warn(f"{self!r} was not read to its end", ResourceWarning, source=self, stacklevel=1)

    async def _wait_news(self, record: CallRecord) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            while not (self._arrivals.chunks or record.ended):
                await self._arrivals.news.wait()
        except trio.Cancelled:
            await self.aclose()
            raise

    def _take(self, record: CallRecord) -> OutputChunk:
        chunk = self._arrivals.chunks.popleft()
        self._taken += len(chunk.data)
        if self._granted - self._taken <= WINDOW_BYTES // 2:
            self._granted = self._taken + WINDOW_BYTES
            self._road.grant(record, self._granted)
        return chunk
