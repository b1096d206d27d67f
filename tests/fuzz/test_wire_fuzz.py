"""One sentence: any bytes give events or RemoteProtocolError, nothing else."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hermes_trio.errors import Provenance, RemoteProtocolError
from hermes_trio.wire.codec import FrameDecoder, encode_frame
from hermes_trio.wire.frames import (
    Accepted,
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
    Input,
    Lease,
    LeaseLost,
    Limits,
    LinkFrame,
    Output,
    Result,
    SessionId,
    SlotId,
    Stream,
    Welcome,
)
from hermes_trio.wire.session import LinkState, Session, SessionReset

pytestmark = pytest.mark.slow

LIMITS = Limits(max_message_bytes=4096, max_calls=3, window_frames=6, window_bytes=8192)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LEASE = Lease(slot=SlotId("s"), epoch=1)
ID = CallId(1)
HELLO = Hello(protocol=1, session_id=SessionId("s"), epoch=None, received=0, limits=LIMITS)
WELCOME = Welcome(
    protocol=1, session_id=SessionId("s"), epoch=Epoch(1), resumed=False, received=0, limits=LIMITS, slots=1
)
VOCABULARY: tuple[Frame, ...] = (
    HELLO,
    WELCOME,
    Ack(received=0),
    Ack(received=1),
    Heartbeat(nonce=1),
    Heartbeat(nonce=1, echo=True),
    Goodbye(),
    Error(code=ErrorCode.BUSY, message=""),
    Call(call_id=ID, operation="x", arguments={}, output_credit=5),
    Call(call_id=CallId(2), operation="x", arguments={"a": [1]}, traceparent=TRACEPARENT),
    Cancel(call_id=ID),
    Input(call_id=ID, offset=0, payload=b"ab"),
    Credit(call_id=ID, limit_bytes=9),
    Accepted(call_id=ID, input_credit=4),
    Output(call_id=ID, stream=Stream.STDOUT, offset=0, payload=b"abc"),
    Result(call_id=ID, provenance=Provenance.OK, segments=(1,), payload=b"x"),
    LeaseLost(lease=LEASE, reason=""),
    Drain(grace_s=1.0),
)

names = st.sampled_from(
    [
        "type",
        "seq",
        "call_id",
        "received",
        "limits",
        "lease",
        "arguments",
        "traceparent",
        "payload",
        "nonce",
        "offset",
        "epoch",
        "x",
    ]
)
TAGS = "hello welcome ack heartbeat goodbye error call cancel input credit accepted output result"
tags = st.sampled_from([*TAGS.split(), "lease_lost", "drain", "nope"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | tags
junk = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4)
)


def wrap(header: bytes, payload: bytes = b"") -> bytes:
    """Put true lengths in front of anything."""
    return struct.pack(">II", len(header), len(payload)) + header + payload


documents = st.builds(
    lambda tag, rest, payload: wrap(json.dumps(rest | {"type": tag}).encode(), payload),
    tags,
    st.dictionaries(names, junk, max_size=6),
    st.binary(max_size=4),
)
spoken = st.builds(
    lambda frame, sequence: encode_frame(frame, sequence=None if isinstance(frame, LinkFrame) else sequence),
    st.sampled_from(VOCABULARY),
    st.integers(1, 4),
)
pieces = st.one_of(
    spoken, spoken, spoken, documents, st.binary(max_size=20), st.binary(max_size=12).map(wrap)
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Frames, half frames and noise, some with a bit turned over."""
    data = bytearray(b"".join(draw(st.lists(pieces, max_size=8))))
    for position in draw(st.lists(st.integers(0, max(0, len(data) - 1)), max_size=2)):
        if data:
            data[position] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


def chunks(data: bytes, size: int) -> list[bytes]:
    """Equal pieces."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def feed(session: Session, data: bytes, size: int) -> list[object]:
    """Everything that the session says until it gives the link up."""
    events: list[object] = []
    try:
        for chunk in chunks(data, size):
            events += session.receive_data(chunk)
    except RemoteProtocolError:
        assert session.state is LinkState.FAILED
    if session.link_error is not None:
        events.append(str(session.link_error))
    return events


def sessions() -> list[Session]:
    """Both sides, greeting and open, with and without a call under way."""
    fresh = Session.for_executor(SessionId("s"), limits=LIMITS)
    fresh.link_up()
    executor = Session.for_executor(SessionId("s"), limits=LIMITS)
    executor.link_up()
    executor.data_to_send()
    executor.receive_data(encode_frame(WELCOME))
    executor.call("x", {}, output_credit=5)
    executor.data_to_send()
    daemon = Session.for_daemon(HELLO, epoch=Epoch(1), limits=LIMITS, slots=1, isolation={})
    daemon.accept(HELLO)
    busy = Session.for_daemon(HELLO, epoch=Epoch(1), limits=LIMITS, slots=1, isolation={})
    busy.accept(HELLO)
    busy.receive_data(encode_frame(VOCABULARY[8], sequence=1))
    busy.accepted(ID, input_credit=3)
    busy.data_to_send()
    return [fresh, executor, daemon, busy]


@given(data=streams())
@example(data=b"")
@example(data=b"\xff" * 8)
@example(data=wrap(b"[" * 5000))
@example(data=wrap(b'{"type":"ack","received":' + b"[" * 500 + b"]" * 500 + b"}"))
@settings(max_examples=250, deadline=None)
def test_any_bytes_give_frames_or_remote_protocol_error(data: bytes) -> None:
    """The decoder: whole or byte by byte, the same frames and the same error."""
    outcomes = []
    for size in (len(data) + 1, 1):
        decoder = FrameDecoder(4096)
        read: list[object] = []
        try:
            for chunk in chunks(data, size):
                read += decoder.feed(chunk)
        except RemoteProtocolError:
            pass
        outcomes.append((read, str(decoder.error)))
    assert outcomes[0] == outcomes[1]


@given(data=streams())
@settings(max_examples=250, deadline=None)
def test_any_bytes_give_events_or_remote_protocol_error(data: bytes) -> None:
    """The session, in each of its situations; what it says does not depend on the cuts."""
    for whole, bytewise in zip(sessions(), sessions(), strict=True):
        told = feed(whole, data, len(data) + 1)
        assert told == feed(bytewise, data, 1)
        assert all(isinstance(event, Frame | SessionReset | str) for event in told)
        while whole.has_data:
            FrameDecoder(4096).feed(whole.data_to_send())
        assert whole.unacknowledged_frames <= LIMITS.window_frames
        assert whole.calls_in_flight <= LIMITS.max_calls
        whole.link_lost()
        repr(whole)


@given(data=streams())
@settings(max_examples=100, deadline=None)
def test_a_session_outlives_any_bytes_of_a_link(data: bytes) -> None:
    """After garbage a new link can always be brought up, unless goodbye was said."""
    _, executor, _, busy = sessions()
    feed(executor, data, 7)
    feed(busy, data, 7)
    for session in (executor, busy):
        session.link_lost()
    if executor.state is not LinkState.OVER:
        executor.link_up()
        assert executor.has_data
    if busy.state is not LinkState.OVER:
        try:
            busy.accept(HELLO)
        except RemoteProtocolError:
            assert busy.state is LinkState.FAILED
        assert busy.has_data
