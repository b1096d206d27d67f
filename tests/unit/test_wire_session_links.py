"""The session: packing, heartbeats, errors, goodbyes, and what becomes of bad peers."""

from __future__ import annotations

import attrs
import pytest

from hermes_trio.errors import LocalProtocolError, Provenance, RemoteProtocolError
from hermes_trio.testing.sessions import SMALL_LIMITS as SMALL
from hermes_trio.testing.sessions import (
    carry,
    frames_of,
    meet,
    new_daemon,
    new_executor,
    offered,
    pair,
    read_hello,
    running,
)
from hermes_trio.wire.codec import encode_frame
from hermes_trio.wire.frames import (
    Accepted,
    Ack,
    Call,
    CallId,
    Cancel,
    Drain,
    Error,
    ErrorCode,
    Frame,
    Goodbye,
    Heartbeat,
    Hello,
    Limits,
    Output,
    Result,
    Stream,
)
from hermes_trio.wire.session import LinkState, Role, Session

ONE = CallId(1)


# --- packing ----------------------------------------------------------------------------------------------


def test_messages_hold_whole_frames_and_stay_within_the_limit() -> None:
    """A frame that is larger than asked for goes alone."""
    executor, daemon = pair()
    for _ in range(4):
        daemon.drain(1.0)
    single = encode_frame(Drain(grace_s=1.0), sequence=1)
    assert daemon.data_to_send(max_bytes=2 * len(single) + 1) == (
        single + encode_frame(Drain(grace_s=1.0), sequence=2)
    )
    assert daemon.data_to_send(max_bytes=1) == encode_frame(Drain(grace_s=1.0), sequence=3)
    assert len(daemon.data_to_send()) == len(single)
    assert not daemon.has_data
    big = executor.call("x", {}, payload=bytes(3900))
    executor.call("x", {}, payload=bytes(3900))
    assert big == ONE
    assert 3900 < len(executor.data_to_send()) <= 4096
    assert executor.has_data


def test_link_frames_go_first() -> None:
    """An acknowledgement does not wait behind bulk."""
    executor, daemon = pair()
    offered(executor, daemon)
    daemon.drain(1.0)
    daemon.heartbeat(5)
    daemon.heartbeat(6)
    assert [frame for _, frame in frames_of(daemon.data_to_send())] == [
        Ack(received=1),
        Heartbeat(nonce=6),
        Drain(grace_s=1.0),
    ]


def test_acknowledgements_come_by_themselves() -> None:
    """After a quarter of the window."""
    executor, daemon = pair(attrs.evolve(SMALL, window_frames=8, max_calls=8))
    executor.call("x", {})
    carry(executor, daemon)
    assert not daemon.has_data
    executor.call("x", {})
    carry(executor, daemon)
    assert [frame for _, frame in frames_of(daemon.data_to_send())] == [Ack(received=2)]


def test_acknowledgements_come_after_a_quarter_of_the_windows_bytes_too() -> None:
    """A few large frames count as much as many small ones."""
    executor, daemon = pair(attrs.evolve(SMALL, window_frames=100))
    executor.call("x", {}, payload=bytes(1500))
    carry(executor, daemon)
    assert not daemon.has_data
    executor.call("x", {}, payload=bytes(1500))
    carry(executor, daemon)
    assert [frame for _, frame in frames_of(daemon.data_to_send())] == [Ack(received=2)]


# --- heartbeats, errors, goodbyes -------------------------------------------------------------------------


def test_a_heartbeat_is_echoed_by_the_session_and_the_echo_is_told() -> None:
    """A flood of heartbeats leaves one echo: the newest."""
    executor, daemon = pair()
    daemon.receive_data(encode_frame(Heartbeat(nonce=1)) * 1000 + encode_frame(Heartbeat(nonce=2)))
    assert carry(daemon, executor) == (Heartbeat(nonce=2, echo=True),)
    daemon.heartbeat(9, echo=True)
    assert carry(daemon, executor) == (Heartbeat(nonce=9, echo=True),)


def test_a_heartbeat_without_an_open_link_has_no_effect() -> None:
    """There is nobody to prove anything to."""
    executor = new_executor()
    executor.heartbeat(1)
    executor.link_up()
    executor.heartbeat(1)
    assert len(frames_of(executor.data_to_send())) == 1


def test_goodbye_lets_what_waits_go_first_and_is_the_end() -> None:
    """On both sides, for good."""
    executor, daemon = pair()
    daemon.drain(1.0)
    daemon.drain(2.0)
    daemon.goodbye("stopping")
    daemon.goodbye("stopping twice")
    assert carry(daemon, executor) == (Drain(grace_s=1.0), Drain(grace_s=2.0), Goodbye(reason="stopping"))
    assert executor.state is daemon.state is LinkState.OVER
    assert executor.receive_data(b"what crossed") == ()
    for session in (executor, daemon):
        session.link_lost()
        assert session.state is LinkState.OVER
        assert not session.has_data


def test_goodbye_waits_for_frames_that_need_another_message() -> None:
    """It is the last frame, not the last of the first message."""
    executor, daemon = pair()
    daemon.drain(1.0)
    daemon.goodbye()
    assert [frame for _, frame in frames_of(daemon.data_to_send(max_bytes=1))] == [
        Drain(grace_s=1.0),
        Goodbye(),
    ]
    executor.call("x", {}, payload=bytes(3000))
    executor.call("x", {}, payload=bytes(3000))
    executor.goodbye()
    messages = [executor.data_to_send(), executor.data_to_send(), executor.data_to_send()]
    said = [[type(frame) for _, frame in frames_of(message)] for message in messages]
    assert said == [[Call], [Call, Goodbye], []]


def test_goodbye_before_the_welcome_follows_the_hello() -> None:
    """An executor may leave at once; without a link it leaves in silence."""
    executor = new_executor()
    executor.link_up()
    executor.goodbye()
    assert [type(frame) for _, frame in frames_of(executor.data_to_send())] == [Hello, Goodbye]
    silent = new_executor()
    silent.goodbye()
    assert not silent.has_data


def test_an_error_gives_up_the_link_and_keeps_the_session() -> None:
    """Nothing but the error is sent on that link; the next one resumes."""
    executor, daemon = pair()
    call_id = offered(executor, daemon)
    daemon.result(call_id, Provenance.OK)
    daemon.error(ErrorCode.INTERNAL, "x" * 1000)
    with pytest.raises(LocalProtocolError, match="no link to give up"):
        daemon.error(ErrorCode.INTERNAL, "again")
    (error,) = carry(daemon, executor)
    assert error == Error(code=ErrorCode.INTERNAL, message="x" * 500)
    assert executor.state is LinkState.FAILED
    assert executor.receive_data(b"what crossed") == ()
    meet(executor, daemon)
    assert carry(daemon, executor) == (Result(call_id=call_id, provenance=Provenance.OK),)


def test_bytes_without_a_link_are_our_own_mistake() -> None:
    """They belong to a link that was given up."""
    with pytest.raises(LocalProtocolError, match="bytes without a link"):
        new_executor().receive_data(b"")


def test_an_error_may_be_said_before_the_greetings_are_over() -> None:
    """An executor that cannot go on says so behind its hello."""
    executor = new_executor()
    executor.link_up()
    executor.error(ErrorCode.INTERNAL, "no")
    assert [type(frame) for _, frame in frames_of(executor.data_to_send())] == [Hello, Error]


# --- bad peers --------------------------------------------------------------------------------------------

BAD_DAEMON: list[tuple[str, int | None, Frame]] = [
    ("result for call 1: not allowed when the call is new", 1, Result(call_id=ONE, provenance=Provenance.OK)),
    ("acknowledged 1, which is not between 0 and 0", None, Ack(received=1)),
    ("frame 2 where 1 is next", 2, Drain(grace_s=1)),
    ("call when the link is open", 1, Call(call_id=ONE, operation="x", arguments={})),
    ("accepted for call 1", 1, Accepted(call_id=ONE)),
]
BAD_EXECUTOR: list[tuple[str, int | None, Frame]] = [
    ("cancel for call 1: not allowed when the call is new", 1, Cancel(call_id=ONE)),
    ("acknowledged 1", None, Ack(received=1)),
    ("drain when the link is open", 1, Drain(grace_s=1)),
    ("frame 7 where 1 is next", 7, Cancel(call_id=ONE)),
]


@pytest.mark.parametrize(("message", "sequence", "frame"), BAD_DAEMON)
def test_a_daemon_that_breaks_the_protocol_is_given_up(
    message: str, sequence: int | None, frame: Frame
) -> None:
    """An error frame is queued, and the link is unusable from then on."""
    executor, _ = pair()
    check_given_up(executor, encode_frame(frame, sequence=sequence), message)


@pytest.mark.parametrize(("message", "sequence", "frame"), BAD_EXECUTOR)
def test_an_executor_that_breaks_the_protocol_is_given_up(
    message: str, sequence: int | None, frame: Frame
) -> None:
    """The same on the other side."""
    _, daemon = pair()
    check_given_up(daemon, encode_frame(frame, sequence=sequence), message)


def check_given_up(session: Session, data: bytes, message: str) -> None:
    """Bad bytes raise, now and later; the peer is told; a new link is another matter."""
    with pytest.raises(RemoteProtocolError, match=message) as caught:
        session.receive_data(data)
    with pytest.raises(RemoteProtocolError):
        session.receive_data(encode_frame(Heartbeat(nonce=1)))
    assert session.state is LinkState.FAILED
    assert session.link_error is caught.value
    ((_, error),) = frames_of(session.data_to_send())
    assert isinstance(error, Error)
    assert error.code is ErrorCode.PROTOCOL
    assert message in error.message
    assert not session.has_data
    session.link_lost()
    assert session.link_error is None


def test_output_beyond_the_credit_is_a_violation() -> None:
    """The worker was told how much is welcome."""
    executor, daemon = pair()
    call_id = running(executor, daemon, output_credit=3)
    output = Output(call_id=call_id, stream=Stream.DATA, offset=0, payload=b"four")
    check_given_up(executor, encode_frame(output, sequence=2), "4 bytes where the credit has 3 left")


def test_output_that_leaves_a_gap_is_a_violation() -> None:
    """Offsets are contiguous."""
    executor, daemon = pair()
    call_id = running(executor, daemon, output_credit=9)
    output = Output(call_id=call_id, stream=Stream.DATA, offset=1, payload=b"x")
    check_given_up(executor, encode_frame(output, sequence=2), "offset 1 where 0 is next")


def test_calls_beyond_the_bound_and_out_of_order_are_violations() -> None:
    """The bound was announced, and ids count up by one."""
    for first, second in ((2, 3), (2, 5)):
        _, daemon = pair(attrs.evolve(SMALL, max_calls=1 if second == 3 else 2))
        daemon.receive_data(
            encode_frame(Call(call_id=CallId(first), operation="x", arguments={}), sequence=1)
        )
        message = "no more are taken" if second == 3 else "3 is the next call"
        call = Call(call_id=CallId(second), operation="x", arguments={})
        check_given_up(daemon, encode_frame(call, sequence=2), message)


def test_an_oversized_frame_is_given_its_own_code() -> None:
    """The peer learns which limit it broke."""
    _, daemon = pair()
    with pytest.raises(RemoteProtocolError, match="too large"):
        daemon.receive_data(b"\0\0\xff\xff\0\0\0\0")
    ((_, error),) = frames_of(daemon.data_to_send())
    assert isinstance(error, Error)
    assert error.code is ErrorCode.TOO_LARGE


def test_events_before_a_violation_are_not_lost() -> None:
    """They count as received, so nobody would ever send them again."""
    executor, daemon = pair()
    call_id = offered(executor, daemon)
    daemon.result(call_id, Provenance.OK)
    events = executor.receive_data(daemon.data_to_send() + b"\0\0\0\2\0\0\0\0{}")
    assert events == (Result(call_id=call_id, provenance=Provenance.OK),)
    assert executor.link_error is not None
    assert isinstance(frames_of(executor.data_to_send())[0][1], Error)
    with pytest.raises(RemoteProtocolError, match="no known frame"):
        executor.receive_data(b"")


def test_frames_behind_a_goodbye_are_dropped_unread() -> None:
    """Whatever they are."""
    executor, _ = pair()
    events = executor.receive_data(encode_frame(Goodbye()) + encode_frame(Ack(received=9)) + b"junk" * 9)
    assert events == (Goodbye(),)


def test_a_session_is_described_in_one_line() -> None:
    """Operators read it."""
    executor, daemon = pair()
    assert repr(new_executor()) == (
        "<Session s-1 executor down epoch -: 0 calls, 0 unacknowledged (0 B), sent 0, received 0>"
    )
    offered(executor, daemon)
    assert repr(executor) == (
        "<Session s-1 executor open epoch 7: 1 calls, 1 unacknowledged (91 B), sent 1, received 0>"
    )
    assert daemon.role is Role.DAEMON


def test_calls_that_no_link_was_handed_are_known() -> None:
    """Of these alone it is certain that they did not run."""
    executor, _daemon = pair()
    sent = executor.call("bash", {})
    executor.data_to_send()
    executor.link_lost()
    unsent = executor.call("bash", {})
    assert (executor.live_calls, executor.unsent_calls) == ((sent, unsent), (unsent,))


def test_a_hello_can_be_judged_before_the_link_is_given_up_for_it() -> None:
    """It begins the session, goes on with it, or means another one; asking changes nothing."""
    executor = new_executor()
    executor.link_up()
    hello = read_hello(executor)
    daemon = new_daemon(hello)
    assert daemon.check_hello(hello) is False
    meet(executor, daemon)
    offered(executor, daemon)
    good = attrs.evolve(hello, incarnation=1, epoch=daemon.epoch)
    assert daemon.check_hello(good) is True
    for wrong, objection in (
        (attrs.evolve(good, epoch=None), "another epoch"),
        (attrs.evolve(good, limits=Limits(max_calls=7)), "limits must not change"),
        (attrs.evolve(good, received=10**9), "acknowledged 1000000000"),
    ):
        with pytest.raises(RemoteProtocolError, match=objection):
            daemon.check_hello(wrong)
    with pytest.raises(RemoteProtocolError, match="another beginning"):
        daemon.check_hello(hello)
    assert daemon.state is LinkState.OPEN
