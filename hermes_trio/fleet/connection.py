"""This side's end of one session with one daemon: the call table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, assert_never
from uuid import uuid4

import trio

from hermes_trio.errors import (
    BrokenLinkError,
    BusyError,
    HermesTrioError,
    InvalidInputError,
    LinkLostError,
    LocalProtocolError,
    RefusedError,
    RemoteProtocolError,
)
from hermes_trio.fleet.calls import CallRecord
from hermes_trio.link.message import MessageLink
from hermes_trio.link.pump import Pump, PumpConfig, PumpStatistics
from hermes_trio.wire.frames import (
    CallId,
    Drain,
    Error,
    ErrorCode,
    Goodbye,
    Lease,
    LeaseLost,
    Limits,
    Result,
    SessionId,
    Welcome,
)
from hermes_trio.wire.session import Event, Session, SessionReset


class ConnectionListener(Protocol):
    """Who wants to know. Called synchronously, from a reader mostly: must neither block nor raise."""

    def daemon_up(self, connection: DaemonConnection, slots: int) -> None:
        """The session is open; the daemon has this many slots."""

    def daemon_draining(self, connection: DaemonConnection) -> None:
        """The daemon takes no new leases."""

    def daemon_down(self, connection: DaemonConnection) -> None:
        """The session is over. Its calls end right after this."""

    def lease_lost(self, connection: DaemonConnection, lease: Lease, reason: str) -> None:
        """The daemon took this slot back."""

    def fleet_unreachable(self, reason: str) -> None:
        """No daemon is up and none is expected soon. May be said again and again; ends with daemon_up."""


class DaemonConnection:
    """One session with one daemon, from the first hello to the end of its link.

    Args:
        name: the endpoint's name.
        listener: hears of the session's life.
        on_open: called once, after the listener has heard that the session is open.
        limits: what this side is ready to take.
        pump: how the link is driven.
    """

    def __init__(
        self,
        name: str,
        *,
        listener: ConnectionListener,
        on_open: Callable[[], None],
        limits: Limits,
        pump: PumpConfig,
    ) -> None:
        self.name = name
        self.welcome: Welcome | None = None
        self._listener = listener
        self._on_open = on_open
        self._calls: dict[CallId, CallRecord] = {}
        self._queued: dict[CallRecord, None] = {}  # posted, not yet written
        self._held: dict[CallRecord, None] = {}  # of those: urgent, and no call fits
        self._refusal: HermesTrioError | None = None
        self._over = False
        self.left = False
        """This side said goodbye: the end that follows is the one that was wanted."""
        session = Session.for_executor(SessionId(uuid4().hex), limits=limits)
        self._pump = Pump(session, on_event=self._on_event, config=pump)

    def __repr__(self) -> str:
        state = "over" if self._over else "open" if self.welcome else "opening"
        sent, queued = len(self._calls), len(self._queued)
        return f"<DaemonConnection {self.name} {state}, {sent} calls sent, {queued} queued>"

    @property
    def is_open(self) -> bool:
        """Welcomed, and not over."""
        return self.welcome is not None and not self._over

    def statistics(self) -> PumpStatistics:
        """Figures of the link."""
        return self._pump.statistics()

    async def run(self, link: MessageLink) -> None:
        """Hold the session over this link until it ends.

        Cancellation: poisons the link; every call that is under way ends as ``LinkLostError``.

        Raises:
            BrokenLinkError: the link ended.
            RemoteProtocolError: the daemon broke the protocol.
            RefusedError: the daemon refused the session, and says why.
            BusyError: it has no room for another session.
        """
        self._pump.session.link_up()
        reason = "the connection was closed"
        try:
            await self._pump.run(link)
        except (BrokenLinkError, RemoteProtocolError) as exc:
            reason = str(exc)
            if self._refusal is not None:
                raise self._refusal from exc
            raise
        finally:
            self._end(reason)

    # --- calls ----------------------------------------------------------------------------------------

    def submit(self, record: CallRecord, *, urgent: bool = False) -> None:
        """Post a call. Never raises: a call that cannot be posted ends with the reason.

        Args:
            record: a call that was not submitted before.
            urgent: goes before everything that waits, even calls of its own trajectory. Where the daemon
                takes no more calls, it waits for the next answer; any other call is refused.
        """
        if self._over:
            record.fail(LinkLostError(f"the link to daemon {self.name} is gone", outcome="not_started"))
            return

        try:
            self._post(record, urgent=urgent)
        except BusyError as exc:
            record.fail(exc)
        else:
            self._queued[record] = None

    def _post(self, record: CallRecord, *, urgent: bool) -> None:
        # Neither a closure that names itself, nor a posting that outlives its turn: either would tie the
        # record, and the result that it will hold, into a cycle, which stays until the collector comes.
        lane = None if urgent else record.trajectory_id
        record.posting = self._pump.post(partial(self._write, record, urgent=urgent), lane=lane)

    def _write(self, record: CallRecord, session: Session, *, urgent: bool) -> None:
        """Its turn has come."""
        if urgent and session.call_room() < 1:
            self._held[record] = None
            return
        self._unqueue(record)
        if session.call_room() < 1:
            record.fail(BusyError(f"daemon {self.name} takes no more calls at once"))
            return
        try:
            record.call_id = session.call(
                record.operation,
                record.arguments,
                lease=record.lease,
                trajectory_id=record.trajectory_id,
                limit_s=record.limit_s,
                payload=record.payload,
            )
        except LocalProtocolError as exc:  # larger than any message, or no JSON: nothing was sent
            record.fail(InvalidInputError(f"the call cannot be sent: {exc}"))
            return
        record.sent_at = trio.current_time()
        self._calls[record.call_id] = record

    def _unqueue(self, record: CallRecord) -> None:
        del self._queued[record]
        record.posting = None

    def cancel(self, record: CallRecord, *, reason: str = "") -> bool:
        """Tell the daemon to end a call, or take it out of the queue.

        Returns whether the call never left: then it is over, and cost nothing. Otherwise its end is
        still to come, as a result that says that everything it started is gone.
        """
        if record.posting is not None and self._pump.withdraw(record.posting):
            self._unqueue(record)
            return True
        if record in self._held:
            del self._held[record]
            self._unqueue(record)
            return True

        def write(session: Session) -> None:
            if record.call_id is not None and self._calls.get(record.call_id) is record:
                session.cancel(record.call_id, reason)

        if not (record.ended or record.cancelling or self._over):
            record.cancelling = True
            self._pump.post(write)
        return False

    async def farewell(self) -> None:
        """Say goodbye and see it off.

        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint()
        if not self._over:
            self.left = True
            self._pump.post(lambda session: session.goodbye("the executor is leaving"))
            await self._pump.wait_flushed()

    # --- events ---------------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        match event:
            case Result():
                self._post_held()
                self._calls.pop(event.call_id).finish(event)
            case Welcome():
                self.welcome = event
                self._listener.daemon_up(self, event.slots)
                self._on_open()
            case LeaseLost():
                self._listener.lease_lost(self, event.lease, event.reason)
            case Drain():
                self._listener.daemon_draining(self)
            case Error():
                self._refusal = _refusal(self.name, event)
            case SessionReset() | Goodbye():
                raise BrokenLinkError(f"daemon {self.name} ended the session")
            case _:
                pass  # heartbeats, and streams that nobody asked for yet

    def _post_held(self) -> None:
        """There is room for one call more: it is for the one that has been held back longest."""
        if self._held:
            record = next(iter(self._held))
            del self._held[record]
            self._post(record, urgent=True)

    def _end(self, reason: str) -> None:
        """Settle every call with what is known about it: the daemon may have run what was written."""
        self._over = True
        if self.welcome is not None:
            self._listener.daemon_down(self)
        queued, self._queued = self._queued, {}
        sent, self._calls = self._calls, {}
        for record in queued:
            record.posting = None
            record.fail(LinkLostError(_lost(self.name, reason), outcome="not_started"))
        for record in sent.values():
            record.fail(LinkLostError(_lost(self.name, reason), outcome="unknown"))


def _lost(name: str, reason: str) -> str:
    return f"the link to daemon {name} was lost: {reason}"


def _refusal(name: str, error: Error) -> HermesTrioError:
    """What the daemon's last words mean: whether asking again is any use."""
    text = f"daemon {name} gave the link up ({error.code}): {error.message}"
    match error.code:
        case ErrorCode.VERSION:
            return RefusedError(f"{text}.", mend="Install the same version of hermes_trio on both sides.")
        case ErrorCode.UNAUTHORIZED:
            return RefusedError(f"{text}.", mend="Use the token the daemon was started with.")
        case ErrorCode.BUSY:
            return BusyError(text)
        case ErrorCode.PROTOCOL | ErrorCode.SESSION | ErrorCode.TOO_LARGE | ErrorCode.INTERNAL:
            return BrokenLinkError(text)
        case _:
            assert_never(error.code)
