"""This side's end of one session with one daemon: the call table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final, Never, Protocol, assert_never
from uuid import uuid4

import trio

from hermes_trio.errors import (
    BrokenLinkError,
    BusyError,
    HermesTrioError,
    InvalidInputError,
    LinkLostError,
    LocalProtocolError,
    LostError,
    RefusedError,
    RemoteProtocolError,
    SandboxLostError,
    UnavailableError,
)
from hermes_trio.fleet.backlog import Backlog
from hermes_trio.fleet.calls import CallRecord
from hermes_trio.link.background import open_background_nursery
from hermes_trio.link.message import MessageLink
from hermes_trio.link.pump import Pump, PumpConfig, PumpStatistics
from hermes_trio.telemetry.bus import EventBus
from hermes_trio.telemetry.events import (
    CallOnTheWire,
    CallRunning,
    DaemonChanged,
    DaemonState,
    LinkChanged,
    LinkState,
)
from hermes_trio.telemetry.events import Event as TelemetryEvent
from hermes_trio.telemetry.log import get_logger
from hermes_trio.wire.frames import (
    Accepted,
    CallId,
    Credit,
    Drain,
    Error,
    ErrorCode,
    Goodbye,
    Lease,
    LeaseLost,
    Limits,
    Output,
    Result,
    SessionId,
    Welcome,
)
from hermes_trio.wire.operations import Operation
from hermes_trio.wire.session import Event, Session, SessionReset

logger = get_logger(__name__)

MAX_HELD: Final = 4096
"""Calls that may wait because the daemon has as many as it takes."""
RETRY_S: Final = 0.1
MAX_FAULTS: Final = 5
"""Breaches of the protocol in a row after which a session is given up: another link does not mend it."""


class ConnectionListener(Protocol):
    """Who wants to know. Called synchronously, from a reader mostly: must neither block nor raise."""

    def daemon_up(self, connection: DaemonConnection, slots: int) -> None:
        """The session has begun; the daemon has this many slots."""

    def daemon_paused(self, connection: DaemonConnection) -> None:
        """Nothing is entrusted to it now: it is silent, or its link was lost. What it has, it keeps."""

    def daemon_resumed(self, connection: DaemonConnection) -> None:
        """It is heard again, and all that it had it still has."""

    def daemon_draining(self, connection: DaemonConnection) -> None:
        """The daemon takes no new leases."""

    def daemon_down(self, connection: DaemonConnection) -> None:
        """The session is over, and its leases with it. Its calls end right after this."""

    def lease_lost(self, connection: DaemonConnection, lease: Lease, reason: str) -> None:
        """The daemon took this slot back."""

    def fleet_unreachable(self, reason: str) -> None:
        """No daemon is up and none is expected soon. May be said again and again; ends with daemon_up."""


class DaemonConnection:
    """One session with one daemon, over any number of links, one after another.

    Args:
        name: the endpoint's name.
        listener: hears of the session's life.
        on_open: called whenever a link is open, after the listener has heard of it.
        limits: what this side is ready to take.
        pump: how links are driven.
        bus: where the lives of the daemon, of its links and of calls are told.
        url: of the daemon, for those who read of it.
    """

    def __init__(
        self,
        name: str,
        *,
        listener: ConnectionListener,
        on_open: Callable[[], None],
        limits: Limits,
        pump: PumpConfig,
        bus: EventBus | None = None,
        url: str = "",
    ) -> None:
        self.name = name
        self.url = url
        self.welcome: Welcome | None = None
        self._mechanisms: Mapping[str, str] = {}
        self.reconnects = 0
        """Links that took the session up where the one before had left it."""
        self.resets = 0
        """Times that the daemon had forgotten the session."""
        self.was_of_use = False
        """The present or the last link has brought a result."""
        self.left = False
        """This side said goodbye: the end that follows is the one that was wanted."""
        self._listener = listener
        self._on_open = on_open
        self._bus = bus or EventBus()
        self._draining = False  # this side wants it so
        self._packed: list[int] = []  # numbers of watched calls in the message that is being sent
        self._state_told = (0.0, DaemonChanged(daemon=name, state=DaemonState.DOWN))
        self._calls: dict[CallId, CallRecord] = {}
        self._queued: dict[CallRecord, None] = {}  # posted, not yet written
        self._held: dict[CallRecord, None] = {}  # of those: urgent, and no call fits
        self._backlog = Backlog()
        self._sent_back = trio.Event()  # set: there is something in the backlog to be sent again
        self._retry_at = 0.0
        self._asked = 0
        self._said: HermesTrioError | None = None  # the daemon's last words on the present link
        self._final: HermesTrioError | None = None  # those that end more than a link
        self._over = False
        self._linked = False
        self._faults = 0  # breaches of the protocol since the last answer
        session = Session.for_executor(SessionId(uuid4().hex), limits=limits)
        self._pump = Pump(
            session,
            on_event=self._on_event,
            on_suspect=self._on_suspect,
            on_sent=self._on_sent,
            config=pump,
        )

    def __repr__(self) -> str:
        sent, queued = len(self._calls), len(self._queued)
        return f"<DaemonConnection {self.name} {self._state()}, {sent} calls sent, {queued} queued>"

    def _state(self) -> str:
        if self._over:
            return "over"
        if self.welcome is None:
            return "opening"
        return "open" if self._linked else "without a link"

    @property
    def is_open(self) -> bool:
        """Welcomed on the present link, and not over."""
        return self._linked and not self._over

    @property
    def is_over(self) -> bool:
        """Its calls are settled; it is of no more use."""
        return self._over

    def statistics(self) -> PumpStatistics:
        """Figures of its links, together."""
        return self._pump.statistics()

    def set_tap(self, tap: Callable[[bool, bytes], None] | None) -> None:
        """Show each message to somebody; see :attr:`Pump.tap`."""
        self._pump.tap = tap

    async def run(self, link: MessageLink) -> None:
        """Hold the session over this link until the link ends; what is under way waits for the next one.

        Cancellation: poisons the link.

        Raises:
            BrokenLinkError: the link ended; the session may go on over another unless :attr:`is_over`.
            RemoteProtocolError: the daemon broke the protocol; likewise.
            RefusedError: the daemon refused the session, and says why; it is over.
            BusyError: it has no room for another session.
        """
        self._pump.session.link_up()
        self._said, self.was_of_use = None, False
        try:
            async with open_background_nursery() as nursery:
                nursery.start_soon(self._retry)
                await self._pump.run(link)
        except RemoteProtocolError:
            self._faults += 1
            raise
        except BrokenLinkError as exc:
            if self._said is not None:
                raise self._said from exc
            raise
        finally:
            self._link_ended()

    def _link_ended(self) -> None:
        self._pump.session.link_lost()
        was_open, self._linked = self._linked, False
        self._packed.clear()
        if was_open:
            self._bus.publish(
                LinkChanged(daemon=self.name, state=LinkState.LOST, reason=str(self._said or ""))
            )
        if self._final is not None:
            self.end(LinkLostError(_lost(self.name, str(self._final))))
        elif self._faults > MAX_FAULTS:
            self.end(LinkLostError(_lost(self.name, "it breaks the protocol again and again")))
        elif was_open and not self._over:
            self._tell(DaemonState.PAUSED, "its link was lost")
            self._listener.daemon_paused(self)

    def end(self, why: LostError) -> None:
        """The session is over: settle every call with what is known about it. Idempotent.

        Args:
            why: what the calls end with that may have run; the others are told that they did not start.
        """
        if self._over:
            return
        self._over = True
        self._settle(why, self._pump.session.unsent_calls)

    def _settle(self, why: LostError, unsent: Collection[CallId]) -> None:
        if self.welcome is not None:
            self._tell(DaemonState.DOWN, str(why))
            self._listener.daemon_down(self)
        queued, self._queued = self._queued, {}
        sent, self._calls = self._calls, {}
        self._held.clear()
        for record in (*queued, *self._backlog.clear()):
            if record.posting is not None:
                self._pump.withdraw(record.posting)
                record.posting = None
            record.fail(not_started(why))
        for call_id, record in sent.items():
            record.fail(not_started(why) if call_id in unsent else why)

    # --- calls ----------------------------------------------------------------------------------------

    def submit(self, record: CallRecord, *, urgent: bool = False) -> None:
        """Post a call. Never raises: a call that cannot be posted ends with the reason.

        Args:
            record: a call that was not submitted before.
            urgent: goes before everything that waits, even calls of its own trajectory. Where the daemon
                takes no more calls, it waits for the next answer, however many do so.
        """
        if self._over:
            record.fail(LinkLostError(f"the link to daemon {self.name} is gone", outcome="not_started"))
            return
        self._asked += 1
        record.number = self._asked
        if record.operation == Operation.SLOT_RELEASE:
            self._drop_backlog(record.lease)
        elif self._backlog.holds_up(record):
            self._backlog.add(record)
            return
        self._queue(record, urgent=urgent)

    def _queue(self, record: CallRecord, *, urgent: bool = False) -> None:
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
        if session.call_room() < 1 and (urgent or len(self._held) < MAX_HELD):
            self._held[record] = None
            return
        self._unqueue(record)
        if session.call_room() < 1:
            record.fail(BusyError(f"daemon {self.name} takes no more calls, and {MAX_HELD} wait for it"))
            return
        try:
            record.call_id = session.call(
                record.operation,
                record.arguments,
                lease=record.lease,
                trajectory_id=record.trajectory_id,
                limit_s=record.limit_s,
                output_credit=record.output_credit,
                again=record.again,
                traceparent=record.traceparent,
                payload=record.payload,
            )
        except LocalProtocolError as exc:  # larger than any message, or no JSON: nothing was sent
            record.fail(InvalidInputError(f"the call cannot be sent: {exc}"))
            return
        record.sent_at = trio.current_time()
        self._calls[record.call_id] = record
        if self._bus.listening and record.event_id:
            self._bus.publish(record.packed(self.name))
            self._packed.append(record.event_id)

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
        if self._backlog.remove(record):
            return True

        def write(session: Session) -> None:
            if record.call_id is not None and self._calls.get(record.call_id) is record:
                session.cancel(record.call_id, reason)

        if not (record.ended or record.cancelling or self._over):
            record.cancelling = True
            self._pump.post(write)
        return False

    def grant(self, record: CallRecord, limit_bytes: int) -> None:
        """Welcome a call's output up to this byte. Means nothing for a call that is over."""

        def write(session: Session) -> None:
            if record.call_id is not None and self._calls.get(record.call_id) is record:
                session.credit(record.call_id, limit_bytes)

        if not (record.ended or self._over):
            self._pump.post(write)

    def drain(self) -> None:
        """Entrust nothing new to the daemon; what it has, it keeps."""
        self._draining = True
        self._tell(DaemonState.DRAINING, "asked for on this side")
        self._listener.daemon_draining(self)

    async def farewell(self) -> None:
        """Say goodbye and see it off.

        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint()
        if not self._over:
            self.left = True
            self._pump.post(lambda session: session.goodbye("the executor is leaving"))
            await self._pump.wait_flushed()

    # --- what is told ---------------------------------------------------------------------------------

    def present(self) -> tuple[float, TelemetryEvent]:
        """The event that makes the daemon's present state, and its moment."""
        return self._state_told

    def _tell(self, state: DaemonState, reason: str = "") -> None:
        if state is DaemonState.UP and self._draining:
            state = DaemonState.DRAINING
        slots = self.welcome.slots if self.welcome is not None else None
        changed = DaemonChanged(daemon=self.name, state=state, slots=slots, url=self.url, reason=reason)
        self._state_told = trio.current_time(), changed
        self._bus.publish(changed)

    def _on_sent(self) -> None:
        """The message under way was handed over whole."""
        if self._packed:
            for number in self._packed:
                self._bus.publish(CallOnTheWire(call=number))
            self._packed.clear()

    def _started(self, accepted: Accepted) -> None:
        record = self._calls.get(accepted.call_id)
        if record is not None:
            record.started_at = trio.current_time()
            if self._bus.listening and record.event_id:
                self._bus.publish(CallRunning(call=record.event_id, pid=record.pid))

    # --- events ---------------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        match event:
            case Result():
                self._faults, self.was_of_use = 0, True
                self._post_held()
                self._answered(self._calls.pop(event.call_id), event)
            case Output():
                record = self._calls.get(event.call_id)
                if record is not None and record.on_output is not None:
                    record.on_output(event)
            case Welcome():
                self._opened(event)
            case SessionReset():
                self._begun_afresh(event)
            case LeaseLost():
                self._listener.lease_lost(self, event.lease, event.reason)
            case Accepted():
                self._started(event)
                self._welcome_input(event.call_id)
            case Credit():
                self._welcome_input(event.call_id)
            case Drain():
                self._tell(DaemonState.DRAINING)
                self._listener.daemon_draining(self)
            case Error(code=ErrorCode.PROTOCOL):
                self._faults += 1  # of one link, as far as we know: the session may go on over another
                self._said = _refusal(self.name, event)
            case Error():
                self._said = self._final = _refusal(self.name, event)
            case Goodbye():
                self._said = self._final = BrokenLinkError(f"daemon {self.name} left: {event.reason}")
                raise self._final
            case _:
                pass  # heartbeats

    def _welcome_input(self, call_id: CallId) -> None:
        record = self._calls.get(call_id)
        if record is not None and record.uplink is not None:
            record.uplink.begin(self._pump, record)

    def _answered(self, record: CallRecord, result: Result) -> None:
        hint_s = _busy_hint(result)
        if hint_s is None or record.cancelling or record.lease is None:
            record.finish(result, mechanisms=self._mechanisms)
            return
        record.call_id = None
        self._backlog.add(record)
        self._retry_at = max(self._retry_at, trio.current_time() + hint_s)
        self._sent_back.set()

    async def _retry(self) -> Never:
        """Send again what a busy daemon has sent back, when its hint has passed."""
        while True:
            await self._sent_back.wait()
            await trio.sleep_until(self._retry_at)
            self._sent_back = trio.Event()
            for record in self._backlog.due(self._calls.values()):
                self._queue(record)
            if len(self._backlog):  # of a slot that has another call under way: its answer is to come
                self._retry_at = trio.current_time() + RETRY_S
                self._sent_back.set()

    def _drop_backlog(self, lease: Lease | None) -> None:
        for record in self._backlog.drop(lease):
            record.fail(UnavailableError("the slot was given back before the daemon had time for the call"))

    def _opened(self, welcome: Welcome) -> None:
        self.welcome, self._linked = welcome, True
        self._mechanisms = _told(welcome.isolation.get("mechanisms"))
        self._tell(DaemonState.UP)
        state = LinkState.RESUMED if welcome.resumed else LinkState.OPEN
        self._bus.publish(LinkChanged(daemon=self.name, state=state))
        if welcome.resumed:
            self.reconnects += 1
            logger.info("a session goes on over a new link", daemon=self.name)
            self._listener.daemon_resumed(self)
        else:
            self._listener.daemon_up(self, welcome.slots)
        self._on_open()

    def _begun_afresh(self, reset: SessionReset) -> None:
        """The daemon knows nothing of this session: its slots are gone, whatever ran in them was killed."""
        assert self.welcome is not None
        if reset.epoch == self.welcome.epoch:
            why = "has ended this executor's leases, for it was silent for too long"
        else:
            why = f"was started again (epoch {self.welcome.epoch}, now {reset.epoch})"
        logger.warning("a session was begun afresh", daemon=self.name, reason=why)
        self.resets += 1
        self._settle(SandboxLostError(f"daemon {self.name} {why}"), reset.not_started)

    def _on_suspect(self, suspect: bool) -> None:
        if suspect:
            logger.warning("a daemon has missed a heartbeat; nothing new is sent to it", daemon=self.name)
            self._tell(DaemonState.PAUSED, "it has missed a heartbeat")
            self._listener.daemon_paused(self)
        else:
            self._tell(DaemonState.UP)
            self._listener.daemon_resumed(self)

    def _post_held(self) -> None:
        """There is room for one call more: it is for the one that has been held back longest."""
        if self._held:
            record = next(iter(self._held))
            del self._held[record]
            self._post(record, urgent=True)


def _busy_hint(result: Result) -> float | None:
    """Seconds after which a busy daemon may be asked again; ``None``: this is an answer."""
    hint_s = result.data.get("retry_after_s")
    if result.data.get("busy") is not True or not isinstance(hint_s, (int, float)):
        return None
    return min(max(float(hint_s), 0.01), 60.0)


def not_started(why: LostError) -> LostError:
    """The same loss, for a call that certainly did not run."""
    return type(why)(str(why), outcome="not_started")


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


def _told(mechanisms: object) -> Mapping[str, str]:
    """As a daemon told it; another version may have nothing of the kind."""
    if not isinstance(mechanisms, Mapping):
        return {}
    return {str(name): str(what) for name, what in mechanisms.items()}
