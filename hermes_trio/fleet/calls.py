"""One call on its way: what to send, and the place where its sender is parked until the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import trio
from attrs import define, field

from hermes_trio.errors import HermesTrioError
from hermes_trio.fleet.uplink import Uplink
from hermes_trio.link.outbox import Posting
from hermes_trio.telemetry.events import CallPacked
from hermes_trio.telemetry.traces import current_traceparent
from hermes_trio.wire.frames import CallId, Lease, Output, Result


@define(eq=False)
class CallRecord:
    """A call of this side, from being made to being answered. Ends exactly once, by result or by error."""

    operation: str
    arguments: Mapping[str, Any] = field(repr=False)
    trajectory_id: str = ""
    lease: Lease | None = None
    limit_s: float | None = None
    payload: bytes = field(default=b"", repr=False)
    output_credit: int = 0
    """Bytes of output that are welcome as they come; 0: in the result only."""
    on_output: Callable[[Output], None] | None = field(default=None, repr=False)
    """Hears each chunk, synchronously; must not raise."""
    on_done: Callable[[CallRecord], None] | None = field(default=None, repr=False)
    """Called at the end, synchronously, before the parked caller runs. Must not raise, but for a
    ``RemoteProtocolError`` about the result: that ends the link."""

    event_id: int = 0
    """The call's number in events; 0: a call of the runtime's own, of which nothing is told."""
    traceparent: str | None = field(factory=current_traceparent, repr=False)
    """The span that asks, for a daemon that takes one: that of the task that makes the record."""
    uplink: Uplink | None = field(default=None, repr=False)
    """What it is sent while it runs, if it is sent something."""

    number: int = 0
    """Counts up in the order of asking, within one connection."""
    again: bool = False
    """The first of those of its slot that a busy daemon has sent back."""
    posting: Posting | None = field(default=None, repr=False)
    """Set from being posted until being written or taken back."""
    call_id: CallId | None = None
    """Set when the frame is written; from then on the call may have effects."""
    sent_at: float | None = None
    """``trio.current_time()`` of the same moment."""
    started_at: float | None = None
    """When the daemon said that it runs, if it says so."""
    pid: int | None = None
    """Its process at the daemon, likewise."""
    mechanisms: Mapping[str, str] = field(factory=dict, repr=False)
    """What keeps slots in at the daemon that answered; shared by all its calls."""
    cancelling: bool = False
    """The daemon was told, or is about to be told, to end it."""
    result: Result | None = field(default=None, repr=False)
    error: HermesTrioError | None = None
    _ended: trio.Event = field(factory=trio.Event, repr=False)

    @property
    def ended(self) -> bool:
        """Answered or failed."""
        return self._ended.is_set()

    def finish(self, result: Result, *, mechanisms: Mapping[str, str] | None = None) -> None:
        """The daemon answered."""
        self.result = result
        self.mechanisms = mechanisms or self.mechanisms
        self._end()

    def fail(self, error: HermesTrioError) -> None:
        """It will never be answered, and this is why. Does nothing to a call that has ended."""
        if not self.ended:
            self.error = error
            self._end()

    async def wait_ended(self) -> None:
        """Park until the call has ended.

        Cancellation: atomic; the call itself goes on.
        """
        await self._ended.wait()

    def unwrap(self) -> Result:
        """The result of a call that has ended.

        Raises:
            HermesTrioError: what :meth:`fail` was given.
        """
        if self.error is not None:
            # One loss ends many calls: each raise would add its frames, and all they hold, to the same error.
            raise self.error.with_traceback(None)
        assert self.result is not None, "the call has not ended"
        return self.result

    def packed(self, daemon: str) -> CallPacked:
        """What is told of it when it was written into a message for this daemon."""
        return CallPacked(
            call=self.event_id, daemon=daemon, slot="" if self.lease is None else self.lease.slot
        )

    def _end(self) -> None:
        self._ended.set()
        if self.uplink is not None:
            self.uplink.close()
        if self.on_done is not None:
            self.on_done(self)
