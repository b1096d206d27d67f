"""A session between an executor and a daemon: bytes in, events out, whatever becomes of the links.

Theory of operation. The session is told of its links (:meth:`Session.link_up`, :meth:`Session.accept`,
:meth:`Session.link_lost`), is fed what arrives (:meth:`Session.receive_data`), and is asked what to send
(:meth:`Session.data_to_send`). It never waits, never looks at a clock and makes up nothing: ids count up.

Three things happen to a session frame that a verb makes: the call's table must allow it (``calls.py``), it
gets the next number and stays in the window until it is acknowledged (``window.py``), and each link carries
it at most once. Link frames are not kept: of each kind only the latest matters, so they take no queue, and
no flood of the peer's can make them one.

**Beginnings.** A daemon makes a session when it reads a hello whose session id it does not know, and begins
it by saying ``resumed=False``. A welcome may get lost, so a later hello must tell whether that beginning was
seen. The executor counts beginnings (``incarnation``) and says its count in the hello: a daemon whose session
was begun under count *n* begins again as long as it hears *n*, and resumes when it hears *n + 1*.

**What must not be lost in an error.** A chunk of bytes may hold a call's result and, behind it, garbage. The
result counts as received, so :meth:`Session.receive_data` returns it and raises on the next call; the error
frame is queued at once, and :attr:`Session.link_error` tells those who look.

**Room.** Cancel and credit frames can always be said: for want of room in the window they wait aside, merged
per call, and go into the window before anything else does. All other verbs raise ``BusyError`` then; who asks
:meth:`Session.room` first never sees it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hermes_trio.errors import LocalProtocolError, Provenance
from hermes_trio.wire.carrier import Carrier, Event, SessionReset
from hermes_trio.wire.faults import MAX_REASON_CHARACTERS
from hermes_trio.wire.frames import (
    TRACEPARENT_FEATURE,
    Accepted,
    Call,
    CallId,
    Cancel,
    Credit,
    Drain,
    Epoch,
    Error,
    ErrorCode,
    Goodbye,
    Heartbeat,
    Hello,
    Input,
    Lease,
    LeaseLost,
    Limits,
    Output,
    Result,
    SessionId,
    Stream,
)
from hermes_trio.wire.ranges import MAX_INTEGER, TRACEPARENT
from hermes_trio.wire.transitions import LINK_TABLE, CallState, LinkState, Role

__all__ = ["CallState", "Event", "LinkState", "Role", "Session", "SessionReset"]


class Session(Carrier):
    """One session, seen from one side. Made by :meth:`for_executor` or :meth:`for_daemon`.

    The attributes, and everything about links, are those of :class:`~hermes_trio.wire.carrier.Carrier`. A
    verb that raises has changed nothing.
    """

    @classmethod
    def for_executor(
        cls, session_id: SessionId, *, limits: Limits, features: Sequence[str] = (), token: str | None = None
    ) -> Session:
        """The executor's side of a session that does not exist yet.

        Args:
            session_id: unique for all time; whoever knows it can take the session over.
            limits: what this side is ready to take.
            features: extensions it knows, by name.
            token: said in the hello, for transports without headers.

        Raises:
            LocalProtocolError: the limits contradict each other.
        """
        return cls(session_id, Role.EXECUTOR, limits=limits, features=features, token=token)

    @classmethod
    def for_daemon(
        cls,
        hello: Hello,
        *,
        epoch: Epoch,
        limits: Limits,
        features: Sequence[str] = (),
        slots: int,
        isolation: Mapping[str, Any],
    ) -> Session:
        """The daemon's side, made from the first hello of an unknown session id; :meth:`accept` it next.

        Args:
            hello: as read.
            epoch: of this life of the daemon.
            limits: what this side is ready to take.
            features: operations offered, and extensions known, by name.
            slots: how many there are.
            isolation: level and mechanisms.

        Raises:
            LocalProtocolError: the limits contradict each other.
        """
        return cls(
            hello.session_id,
            Role.DAEMON,
            limits=limits,
            features=features,
            epoch=epoch,
            incarnation=hello.incarnation,
            slots=slots,
            isolation=isolation,
        )

    def __repr__(self) -> str:
        epoch = "-" if self.epoch is None else self.epoch
        return (
            f"<Session {self.session_id} {self.role.value} {self.state.value} epoch {epoch}:"
            f" {self.calls_in_flight} calls,"
            f" {self.unacknowledged_frames} unacknowledged ({self.unacknowledged_bytes} B),"
            f" sent {self._window.last}, received {self._inbox.received}>"
        )

    # --- what it is at ------------------------------------------------------------------------------------

    @property
    def calls_in_flight(self) -> int:
        """Calls offered and not answered."""
        return len(self._calls.live)

    @property
    def live_calls(self) -> tuple[CallId, ...]:
        """Their ids, oldest first."""
        return tuple(self._calls.live)

    @property
    def unsent_calls(self) -> tuple[CallId, ...]:
        """Those of them that no link was ever handed: it is certain that they did not run."""
        return self._unsent_calls()

    @property
    def unacknowledged_frames(self) -> int:
        """Session frames in the window."""
        return self._window.frames

    @property
    def unacknowledged_bytes(self) -> int:
        """Their size."""
        return self._window.held_bytes

    def state_of(self, call_id: CallId) -> CallState:
        """Where a call stands."""
        return self._calls.state_of(call_id)

    def room(self) -> bool:
        """Whether the window takes one more session frame, of any size that is allowed."""
        return self.alive and self._window.fits(self.limits.max_message_bytes)

    def call_room(self) -> int:
        """How many more calls may be offered before one must be answered."""
        return self.limits.max_calls - self.calls_in_flight if self.alive else 0

    def output_room(self, call_id: CallId) -> int:
        """Bytes of output that the credit of a call still allows; 0 for a call that is not live."""
        record = self._calls.live.get(call_id)
        return 0 if record is None else record.output.left

    def input_room(self, call_id: CallId) -> int:
        """Bytes of input that the credit of a call still allows; 0 for a call that is not live."""
        record = self._calls.live.get(call_id)
        return 0 if record is None else record.input.left

    # --- the caller's verbs -------------------------------------------------------------------------------

    def call(
        self,
        operation: str,
        arguments: Mapping[str, Any],
        *,
        lease: Lease | None = None,
        trajectory_id: str = "",
        limit_s: float | None = None,
        output_credit: int = 0,
        again: bool = False,
        traceparent: str | None = None,
        payload: bytes = b"",
    ) -> CallId:
        """Offer a call.

        Args:
            operation: its name.
            arguments: JSON values; not examined.
            lease: the slot, for operations that need one.
            trajectory_id: for whom.
            limit_s: seconds it may run once started; ``None``: no limit.
            output_credit: bytes of output frames that are welcome at once.
            again: it is the first of those that a busy worker has sent back.
            traceparent: the span that asks; left out where the peer has not announced that it takes one.
            payload: input that travels along.

        Returns:
            Its id: the last one's successor.

        Raises:
            BusyError: the window has no room for it.
            LocalProtocolError: ``call_room()`` is 0, or a value that the protocol does not have.
        """
        call_id = CallId(self._calls.highest + 1)
        self._say(
            Call(
                call_id=call_id,
                operation=operation,
                arguments=arguments,
                lease=lease,
                trajectory_id=trajectory_id,
                limit_s=None if limit_s is None else _seconds("limit_s", limit_s, zero=False),
                output_credit=_count("output_credit", output_credit),
                again=again,
                traceparent=self._traceparent(traceparent),
                payload=payload,
            )
        )
        return call_id

    def _traceparent(self, told: str | None) -> str | None:
        if told is None or TRACEPARENT_FEATURE not in self.peer_features:
            return None
        if not TRACEPARENT.fits(told):
            raise LocalProtocolError(f"traceparent must be {TRACEPARENT.like}")
        return told

    def cancel(self, call_id: CallId, reason: str = "") -> None:
        """End a call; its result says when it is gone. Never refused for want of room.

        Raises:
            LocalProtocolError: the call is not live, or is being cancelled.
        """
        self._say_soon(Cancel(call_id=call_id, reason=reason[:MAX_REASON_CHARACTERS]))

    def input(self, call_id: CallId, payload: bytes, *, eof: bool = False) -> None:
        """Send a chunk of input.

        Raises:
            BusyError: the window has no room for it.
            LocalProtocolError: more than ``input_room()``, or the call takes no input now.
        """
        record = self._calls.live.get(call_id)
        offset = 0 if record is None else record.input.used
        self._say(Input(call_id=call_id, offset=offset, eof=eof, payload=payload))

    def credit(self, call_id: CallId, limit_bytes: int) -> None:
        """Let the peer send its stream of a call up to this byte. Never refused for want of room.

        Raises:
            LocalProtocolError: the call is not live, or the limit is lower than before.
        """
        self._say_soon(Credit(call_id=call_id, limit_bytes=_count("limit_bytes", limit_bytes)))

    # --- the worker's verbs -------------------------------------------------------------------------------

    def accepted(self, call_id: CallId, *, input_credit: int = 0) -> None:
        """Say that a call has started.

        Args:
            call_id: an offered call.
            input_credit: bytes of input that are welcome at once.

        Raises:
            BusyError: the window has no room for it.
            LocalProtocolError: the call is not waiting to start.
        """
        self._say(Accepted(call_id=call_id, input_credit=_count("input_credit", input_credit)))

    def output(self, call_id: CallId, stream: Stream, payload: bytes) -> None:
        """Send a chunk of output.

        Raises:
            BusyError: the window has no room for it.
            LocalProtocolError: more than ``output_room()``, or the call is not running.
        """
        record = self._calls.live.get(call_id)
        offset = 0 if record is None else record.output.used
        self._say(Output(call_id=call_id, stream=stream, offset=offset, payload=payload))

    def result(
        self,
        call_id: CallId,
        provenance: Provenance,
        *,
        error: str = "",
        data: Mapping[str, Any] | None = None,
        segments: Sequence[int] = (),
        payload: bytes = b"",
    ) -> None:
        """Answer a call; nothing can be said about it after this.

        Args:
            call_id: a live call.
            provenance: who is responsible for its ending.
            error: one line; empty on success.
            data: the operation's report, as JSON values.
            segments: lengths of the consecutive parts of the payload; empty: it is one.
            payload: bytes.

        Raises:
            BusyError: the window has no room for it.
            LocalProtocolError: the call is not live, or the segments do not add up.
        """
        if segments and sum(segments) != len(payload):
            raise LocalProtocolError(f"segments of {sum(segments)} bytes, a payload of {len(payload)}")
        self._say(
            Result(
                call_id=call_id,
                provenance=provenance,
                error=error,
                data={} if data is None else data,
                segments=tuple(segments),
                payload=payload,
            )
        )

    def lease_lost(self, lease: Lease, reason: str) -> None:
        """Say that a slot was taken back.

        Raises:
            BusyError: the window has no room for it.
            LocalProtocolError: this is the executor's side, or there is no session.
        """
        self._say(LeaseLost(lease=lease, reason=reason[:MAX_REASON_CHARACTERS]))

    def drain(self, grace_s: float) -> None:
        """Say that no more leases are given, and that what runs has so many seconds left.

        Raises:
            BusyError: the window has no room for it.
            LocalProtocolError: this is the executor's side, or there is no session.
        """
        self._say(Drain(grace_s=_seconds("grace_s", grace_s, zero=True)))

    # --- everybody's verbs --------------------------------------------------------------------------------

    def heartbeat(self, nonce: int, *, echo: bool = False) -> None:
        """Prove that this side's loop turns. Without an open link there is nobody to prove it to: no effect.

        A heartbeat that was not sent yet is replaced: the newest says all.
        """
        if self.state is not LinkState.OPEN:
            return
        beat = Heartbeat(nonce=_count("nonce", nonce), echo=echo)
        if echo:
            self._outgoing.echo = beat
        else:
            self._outgoing.heartbeat = beat
        self._inbox.offer()

    def goodbye(self, reason: str = "") -> None:
        """End the session for good, on both sides. What waits is sent first. No effect when it is over."""
        if self.state is not LinkState.OVER:
            self._say_last(Goodbye(reason=reason[:MAX_REASON_CHARACTERS]))

    def error(self, code: ErrorCode, message: str) -> None:
        """Give this link up. Send what is queued, then close it; the session stays.

        Raises:
            LocalProtocolError: there is no link, or its last word was said.
        """
        if Error not in LINK_TABLE[self.state][self.role]:
            raise LocalProtocolError(f"no link to give up: {self!r}")
        self._say_last(Error(code=code, message=message[:MAX_REASON_CHARACTERS]))


def _count(name: str, value: int) -> int:
    if 0 <= value <= MAX_INTEGER:
        return value
    raise LocalProtocolError(f"{name} must be between 0 and {MAX_INTEGER}, not {value}")


def _seconds(name: str, value: float, *, zero: bool) -> float:
    if math.isfinite(value) and (value > 0 or (zero and value == 0)):
        return value
    raise LocalProtocolError(
        f"{name} must be {'at least' if zero else 'more than'} 0 and finite, not {value}"
    )
