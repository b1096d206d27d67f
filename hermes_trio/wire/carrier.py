"""The half of a session that knows its links: greetings, what arrives, what is sent.

The other half, the verbs, is in ``session.py``; the theory of operation stands there for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from attrs import frozen

from hermes_trio.errors import BusyError, LocalProtocolError, RemoteProtocolError
from hermes_trio.wire.calls import CallBook
from hermes_trio.wire.codec import FrameDecoder, encode_frame
from hermes_trio.wire.faults import PeerFault, error_of
from hermes_trio.wire.frames import (
    PROTOCOL_VERSION,
    Ack,
    Call,
    CallId,
    Cancel,
    Credit,
    Drain,
    Epoch,
    Error,
    ErrorCode,
    Frame,
    Goodbye,
    Heartbeat,
    Hello,
    LeaseLost,
    Limits,
    Result,
    SessionFrame,
    SessionId,
    Welcome,
)
from hermes_trio.wire.handshake import agree, check_greeting, objection_to_limits
from hermes_trio.wire.outgoing import Outgoing
from hermes_trio.wire.transitions import (
    DEAF,
    LINK_LOST,
    LINK_TABLE,
    LINK_UP,
    SESSION_FRAMES,
    LinkState,
    Party,
    Role,
)
from hermes_trio.wire.window import ReceiveWindow, SendWindow


@frozen(kw_only=True)
class SessionReset:
    """The daemon has begun the session afresh; what it did before is gone, leases included.

    Attributes:
        calls: every call that was under way.
        epoch: the daemon's epoch now.
        not_started: those of ``calls`` that were never handed to a link: it is certain that they did not run.
    """

    calls: tuple[CallId, ...]
    epoch: Epoch
    not_started: tuple[CallId, ...] = ()


Event: TypeAlias = Frame | SessionReset


_ACK_FRAMES = 128
_ACK_BYTES = 256 * 1024
"""After so much an acknowledgement is due: a hundredth of the traffic that it answers, or less."""


class Carrier:
    """What a session is made of, below its verbs.

    Attributes:
        session_id: the same on both sides and on every link.
        role: which side this is.
        state: where the present link stands; ``OVER`` is the end of the session.
        epoch: the daemon's; ``None`` before the first welcome.
        limits: what both sides keep to; this side's own before they have met.
        peer_features: what the peer announced.
        link_error: what the peer did wrong on this link, if anything.
    """

    def __init__(
        self,
        session_id: SessionId,
        role: Role,
        *,
        limits: Limits,
        features: Sequence[str],
        token: str | None = None,
        epoch: Epoch | None = None,
        incarnation: int = 0,
        slots: int = 0,
        isolation: Mapping[str, Any] | None = None,
    ) -> None:
        objection = objection_to_limits(limits)
        if objection:
            raise LocalProtocolError(objection)
        self.session_id = session_id
        self.role = role
        self.state = LinkState.DOWN
        self.epoch = epoch
        self.peer_features: tuple[str, ...] = ()
        self._own_limits = limits
        self._peer_limits: Limits | None = None  # None: not begun
        self._features = tuple(features)
        self._token = token
        self._incarnation = incarnation
        self._slots = slots
        self._isolation = isolation or {}
        self._begin(limits)
        self._forget_link()

    @property
    def begun(self) -> bool:
        """Whether the two sides have met: verbs are allowed from then on."""
        return self._peer_limits is not None

    @property
    def alive(self) -> bool:
        """Whether verbs are allowed: begun, and not over. It may be so between two links."""
        return self.begun and self.state is not LinkState.OVER

    def _begin(self, limits: Limits) -> None:
        """Set everything that does not outlive a beginning."""
        self.limits = limits
        self._window = SendWindow(max_frames=limits.window_frames, max_bytes=limits.window_bytes)
        # A peer that waits for room must be told before it waits for ever: what is held back from it is less
        # than what keeps a full message out of its window. And whatever is not acknowledged is memory there.
        spare_bytes = limits.window_bytes - limits.max_message_bytes
        self._inbox = ReceiveWindow(
            ack_frames=max(1, min(_ACK_FRAMES, limits.window_frames // 4)),
            ack_bytes=max(1, min(_ACK_BYTES, limits.window_bytes // 4, spare_bytes)),
        )
        me = Party.CALLER if self.role is Role.EXECUTOR else Party.WORKER
        self._calls = CallBook(me, max_calls=limits.max_calls)
        # Without room for them, at most one of each per live call waits here; a later credit replaces one.
        self._aside: dict[tuple[CallId, type], Cancel | Credit] = {}

    # --- links --------------------------------------------------------------------------------------------

    def link_up(self) -> None:
        """Executor: a link is there; queue hello. Whatever link there was is superseded.

        Raises:
            LocalProtocolError: this is the daemon's side (it uses :meth:`accept`), or the session is over.
        """
        self._raise_link(Role.EXECUTOR)
        hello = Hello(
            protocol=PROTOCOL_VERSION,
            session_id=self.session_id,
            epoch=self.epoch,
            received=self._inbox.tell(),
            limits=self._own_limits,
            features=self._features,
            incarnation=self._incarnation,
            token=self._token,
        )
        self._greet(hello)

    def accept(self, hello: Hello) -> None:
        """Daemon: a link is there and said this hello; queue welcome, and what was not acknowledged.

        Whatever link there was is superseded. Bytes that were read behind the hello go into
        :meth:`receive_data` next.

        Raises:
            RemoteProtocolError: the hello cannot be answered; an error frame is queued.
            LocalProtocolError: this is the executor's side, or the session is over.
        """
        self._raise_link(Role.DAEMON)
        self.state = LINK_TABLE[self.state][Role.EXECUTOR][Hello]
        try:
            resumed = self._meet(hello)
        except PeerFault as exc:
            self._fail(exc)
            raise
        assert self.epoch is not None
        welcome = Welcome(
            protocol=PROTOCOL_VERSION,
            session_id=self.session_id,
            epoch=self.epoch,
            resumed=resumed,
            received=self._inbox.tell(),
            limits=self._own_limits,
            features=self._features,
            slots=self._slots,
            isolation=self._isolation,
        )
        self._greet(welcome)
        self._outgoing.flowing = True

    def check_hello(self, hello: Hello) -> bool:
        """Daemon: whether this hello goes on with the session (true) or begins it. Changes nothing.

        Ask before a link that the session has is given up for one that has no right to it.

        Raises:
            RemoteProtocolError: neither; :meth:`accept` would raise the same.
        """
        check_greeting(hello, self.session_id)
        resumed = self.begun and hello.incarnation == self._incarnation + 1
        if not resumed and (hello.incarnation != self._incarnation or self._inbox.received):
            raise PeerFault("another beginning of this session is meant", code=ErrorCode.SESSION)
        if resumed:
            self._check_resume(hello)
        return resumed

    def link_lost(self) -> None:
        """The link is gone; forget it and keep the session."""
        self.state = LINK_LOST[self.state]
        self._forget_link()

    def _raise_link(self, role: Role) -> None:
        if self.role is not role:
            raise LocalProtocolError(f"an executor has link_up(), a daemon accept(); this is {self!r}")
        if self.state is LinkState.OVER:
            raise LocalProtocolError("the session is over")
        self.state = LINK_UP[self.state]
        self._forget_link()

    def _forget_link(self) -> None:
        """Drop all that belongs to one link only."""
        self.link_error: RemoteProtocolError | None = None
        self._decoder = FrameDecoder(self._own_limits.max_message_bytes)
        self._outgoing = Outgoing()

    def _greet(self, frame: Hello | Welcome) -> None:
        self._outgoing.greeting = encode_frame(frame)
        self.state = LINK_TABLE[self.state][self.role][type(frame)]

    # --- beginnings ---------------------------------------------------------------------------------------

    def _meet(self, hello: Hello) -> bool:
        """Daemon: take a hello; returns whether the session goes on where it was."""
        resumed = self.check_hello(hello)
        if resumed:
            self._resume(hello)
        elif self.begun:
            self._window.rewind()  # the peer has not heard of the beginning yet: the same one again
        else:
            self._meet_limits(hello.limits)
        self.peer_features = hello.features
        return resumed

    def _take_welcome(self, welcome: Welcome, events: list[Event]) -> None:
        """Executor: go on where the session was, or begin afresh and say what is lost."""
        check_greeting(welcome, self.session_id)
        if welcome.resumed:
            if not self.begun:
                raise PeerFault("resumes what never began", path="welcome.resumed")
            self._resume(welcome)
        else:
            self._begin_afresh(welcome, events)
        self.peer_features = welcome.features
        self._outgoing.flowing = True
        events.append(welcome)

    def _resume(self, greeting: Hello | Welcome) -> None:
        """Forget what the peer says it has, and send the rest again."""
        self._check_resume(greeting)
        self._acknowledge(greeting.received)
        self._window.rewind()

    def _check_resume(self, greeting: Hello | Welcome) -> None:
        if greeting.epoch != self.epoch:
            raise PeerFault("resumes another epoch", code=ErrorCode.SESSION)
        if greeting.limits != self._peer_limits:
            raise PeerFault("limits must not change in the life of a session")
        self._window.check_acknowledged(greeting.received)

    def _begin_afresh(self, welcome: Welcome, events: list[Event]) -> None:
        if welcome.received:
            raise PeerFault("must be 0 at a beginning", path="welcome.received")
        known, calls, unsent = self.begun, self._calls, self._unsent_calls()
        self._meet_limits(welcome.limits)
        self._calls.highest = calls.highest  # an id is never used again, whoever worked on it
        self._incarnation += 1
        self.epoch = welcome.epoch
        if known:
            events.append(SessionReset(calls=tuple(calls.live), epoch=welcome.epoch, not_started=unsent))

    def _unsent_calls(self) -> tuple[CallId, ...]:
        handed_out = self._window.handed_out
        return tuple(call_id for call_id, call in self._calls.live.items() if call.offered_as > handed_out)

    def _meet_limits(self, limits: Limits) -> None:
        self._peer_limits = limits
        self._begin(agree(self._own_limits, limits))

    def _acknowledge(self, received: int) -> None:
        self._calls.forget_results(self._window.acknowledge(received))
        self._push_aside()

    # --- what arrives -------------------------------------------------------------------------------------

    def receive_data(self, data: bytes | bytearray | memoryview) -> tuple[Event, ...]:
        """Take bytes from the link, return what they say.

        Ask :meth:`data_to_send` afterwards: there may be acknowledgements, echoes or an error to send.

        Raises:
            RemoteProtocolError: the peer broke the protocol, now or in an earlier call. An error frame is
                queued; send it, then close the link. Events that came before the violation are never lost:
                they are returned, and the next call raises.
            LocalProtocolError: there is no link.
        """
        if self.link_error is not None:
            raise self.link_error
        if self.state is LinkState.DOWN:
            raise LocalProtocolError("bytes without a link")
        events: list[Event] = []
        consumed = self._decoder.consumed_bytes
        try:
            self._receive(data, events)
        except PeerFault as exc:
            self._fail(exc)
            if not events:
                raise
        self._inbox.count(self._decoder.consumed_bytes - consumed)
        return tuple(events)

    def _receive(self, data: bytes | bytearray | memoryview, events: list[Event]) -> None:
        if self.state in DEAF:
            return
        for sequence, frame in self._decoder.feed(data):
            self._receive_frame(sequence, frame, events)
            if self.state in DEAF:
                return
        if self._decoder.error is not None:
            raise self._decoder.error

    def _receive_frame(self, sequence: int | None, frame: Frame, events: list[Event]) -> None:
        state = LINK_TABLE[self.state][self.role.peer].get(type(frame))
        if state is None:
            raise PeerFault(f"{type(frame).__name__.lower()} when the link is {self.state.value}")
        self.state = state
        if sequence is None:
            self._receive_link_frame(frame, events)
        elif self._inbox.take(sequence):
            self._receive_session_frame(sequence, cast(SessionFrame, frame), events)

    def _receive_link_frame(self, frame: Frame, events: list[Event]) -> None:
        match frame:
            case Ack():
                self._acknowledge(frame.received)
            case Heartbeat(echo=False):
                self._outgoing.echo = Heartbeat(nonce=frame.nonce, echo=True)
                self._inbox.offer()
            case Welcome():
                self._take_welcome(frame, events)
            case Goodbye() | Error():
                self._outgoing = Outgoing()
                events.append(frame)
            case _:
                events.append(frame)

    def _receive_session_frame(self, sequence: int, frame: SessionFrame, events: list[Event]) -> None:
        if isinstance(frame, LeaseLost | Drain):
            events.append(frame)
            return
        sender = Party.WORKER if self.role is Role.EXECUTOR else Party.CALLER
        self._calls.check(frame, sender)
        if self._calls.apply(frame, sender, sequence):
            events.append(frame)
        elif isinstance(frame, Call):
            answer = self._calls.answer_to(frame.call_id)
            if answer is not None:
                self._outgoing.again[answer] = None

    def _fail(self, error: PeerFault) -> None:
        self.link_error = error
        self._say_last(error_of(error))

    def _say_last(self, frame: Error | Goodbye) -> None:
        """Queue the frame that ends the link; only a goodbye lets waiting session frames go first."""
        if self.state not in (LinkState.DOWN, LinkState.FAILED):
            self._outgoing.last_words = encode_frame(frame)
            self._outgoing.flowing = self.state is LinkState.OPEN and isinstance(frame, Goodbye)
        self.state = LINK_TABLE[self.state][self.role][type(frame)]

    # --- what is sent -------------------------------------------------------------------------------------

    @property
    def has_data(self) -> bool:
        """Whether :meth:`data_to_send` has something."""
        return self._outgoing.waits(self._window, self._inbox)

    def data_to_send(self, *, max_bytes: int | None = None) -> bytes:
        """Take whole frames for one message; link frames go first.

        What was taken counts as sent on this link: send it, or tell of the link's loss.

        Args:
            max_bytes: stop before the message grows beyond this; a single larger frame goes alone.
                ``None``: the largest message that the peer takes.

        Returns:
            The message, or ``b""`` when there is nothing to send.
        """
        budget = self.limits.max_message_bytes if max_bytes is None else max_bytes
        return self._outgoing.pack(self._window, self._inbox, budget)

    # --- what is queued -----------------------------------------------------------------------------------

    def _say(self, frame: SessionFrame) -> None:
        """Queue one of this side's session frames.

        Raises:
            BusyError: the window has no room for it.
            LocalProtocolError: the tables forbid it, or it is no frame that could be sent.
        """
        self._check_own(frame)
        data = self._encode_next(frame)
        if self._aside or not self._window.fits(len(data)):
            raise BusyError(f"the window has no room for {len(data)} bytes more: {self!r}")
        self._push(frame, data)

    def _say_soon(self, frame: Cancel | Credit) -> None:
        """Queue it, or put it aside until the window has room. Never refused for want of room."""
        self._check_own(frame)
        data = self._encode_next(frame)
        if not self._aside and self._window.fits(len(data)):
            self._push(frame, data)
        else:
            self._aside[frame.call_id, type(frame)] = frame
            self._calls.apply(frame, self._calls.me, 0)

    def _check_own(self, frame: SessionFrame) -> None:
        if not self.alive or type(frame) not in SESSION_FRAMES[self.role]:
            raise LocalProtocolError(f"no {type(frame).__name__.lower()} from {self!r}")
        if not isinstance(frame, LeaseLost | Drain):
            self._calls.check(frame, self._calls.me)

    def _encode_next(self, frame: SessionFrame) -> bytes:
        data = encode_frame(frame, sequence=self._window.last + 1)
        if len(data) > self.limits.max_message_bytes:
            raise LocalProtocolError(f"a frame of {len(data)} bytes is larger than any message")
        return data

    def _push(self, frame: SessionFrame, data: bytes) -> None:
        self._window.push(data, answers=frame.call_id if isinstance(frame, Result) else None)
        if not isinstance(frame, LeaseLost | Drain):
            self._calls.apply(frame, self._calls.me, self._window.last)

    def _push_aside(self) -> None:
        """Move what was put aside into the window, as far as there is room now."""
        while self._aside:
            key = next(iter(self._aside))
            frame = self._aside[key]
            if frame.call_id in self._calls.live:  # else it is late already, and means nothing
                data = self._encode_next(frame)
                if not self._window.fits(len(data)):
                    return
                self._window.push(data)
            del self._aside[key]
