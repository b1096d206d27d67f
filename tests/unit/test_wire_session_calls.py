"""The session: verbs, credit, duplicates, room in the window."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from hermes_trio.errors import BusyError, LocalProtocolError, Provenance, RemoteProtocolError
from hermes_trio.testing.sessions import SMALL_LIMITS as SMALL
from hermes_trio.testing.sessions import (
    carry,
    ended,
    frames_of,
    meet,
    new_executor,
    offered,
    pair,
    running,
)
from hermes_trio.wire.codec import encode_frame
from hermes_trio.wire.frames import (
    TRACEPARENT_FEATURE,
    Accepted,
    Ack,
    Call,
    CallId,
    Cancel,
    Credit,
    Drain,
    Heartbeat,
    Input,
    Lease,
    LeaseLost,
    Limits,
    Output,
    Result,
    SlotId,
    Stream,
)
from hermes_trio.wire.session import CallState, LinkState, Session

ONE = CallId(1)
TWO = CallId(2)
LEASE = Lease(slot=SlotId("slot-1"), epoch=3)


# --- calls ------------------------------------------------------------------------------------------------


def test_a_call_walks_there_and_back() -> None:
    """Every field of every verb arrives."""
    executor, daemon = pair()
    call_id = executor.call(
        "bash",
        {"command": "cat"},
        lease=LEASE,
        trajectory_id="t-1",
        limit_s=2,
        output_credit=10,
        payload=b"in",
    )
    assert carry(executor, daemon) == (
        Call(
            call_id=ONE,
            operation="bash",
            arguments={"command": "cat"},
            lease=LEASE,
            trajectory_id="t-1",
            limit_s=2.0,
            output_credit=10,
            payload=b"in",
        ),
    )
    daemon.accepted(call_id, input_credit=5)
    daemon.output(call_id, Stream.STDOUT, b"abc")
    daemon.output(call_id, Stream.STDERR, b"de")
    assert carry(daemon, executor) == (
        Accepted(call_id=ONE, input_credit=5),
        Output(call_id=ONE, stream=Stream.STDOUT, offset=0, payload=b"abc"),
        Output(call_id=ONE, stream=Stream.STDERR, offset=3, payload=b"de"),
    )
    executor.input(call_id, b"xy")
    executor.input(call_id, b"z", eof=True)
    executor.credit(call_id, 20)
    assert carry(executor, daemon) == (
        Input(call_id=ONE, offset=0, payload=b"xy"),
        Input(call_id=ONE, offset=2, eof=True, payload=b"z"),
        Credit(call_id=ONE, limit_bytes=20),
    )
    daemon.credit(call_id, 6)
    daemon.result(call_id, Provenance.TOOL_ERROR, error="e", data={"a": 1}, segments=[1, 2], payload=b"abc")
    assert carry(daemon, executor) == (
        Credit(call_id=ONE, limit_bytes=6),
        Result(
            call_id=ONE,
            provenance=Provenance.TOOL_ERROR,
            error="e",
            data={"a": 1},
            segments=(1, 2),
            payload=b"abc",
        ),
    )
    assert executor.state_of(call_id) is daemon.state_of(call_id) is CallState.ENDED


def test_notices_about_no_call_arrive() -> None:
    """A lost lease and a drain."""
    executor, daemon = pair()
    daemon.lease_lost(LEASE, "reset failed")
    daemon.drain(0)
    assert carry(daemon, executor) == (LeaseLost(lease=LEASE, reason="reset failed"), Drain(grace_s=0))


LOCAL: list[tuple[str, Callable[[Session, Session], object]]] = [
    ("call 1: not allowed when the call is new", lambda e, d: e.cancel(ONE)),
    ("call 9: not allowed when the call is new", lambda e, d: d.result(CallId(9), Provenance.OK)),
    ("no result from <Session s-1 executor", lambda e, d: e.result(ONE, Provenance.OK)),
    ("no call from <Session s-1 daemon", lambda e, d: d.call("bash", {})),
    ("limit_s must be more than 0", lambda e, d: e.call("bash", {}, limit_s=0)),
    ("limit_s must be more than 0 and finite", lambda e, d: e.call("bash", {}, limit_s=float("nan"))),
    ("output_credit must be between", lambda e, d: e.call("bash", {}, output_credit=-1)),
    ("grace_s must be at least 0", lambda e, d: d.drain(-1)),
    ("grace_s must be at least 0 and finite", lambda e, d: d.drain(float("inf"))),
    ("nonce must be between", lambda e, d: e.heartbeat(2**53)),
    ("larger than any message", lambda e, d: e.call("bash", {}, payload=bytes(5000))),
    ("cannot be written", lambda e, d: e.call("bash", {"command": "\ud800"})),
    ("the call has ended", lambda e, d: e.cancel(ended(e, d))),
    ("the call has ended", lambda e, d: e.credit(ended(e, d), 10)),
    ("the call has ended", lambda e, d: e.input(ended(e, d), b"")),
    ("not allowed when the call is ended", lambda e, d: d.output(ended(e, d), Stream.DATA, b"")),
    ("not allowed when the call is offered", lambda e, d: e.input(offered(e, d), b"")),
    ("not allowed when the call is offered", lambda e, d: d.output(offered(e, d), Stream.DATA, b"")),
    ("2 bytes where the credit has 1 left", lambda e, d: e.input(running(e, d, input_credit=1), b"xx")),
    ("1 bytes where the credit has 0 left", lambda e, d: d.output(running(e, d), Stream.DATA, b"x")),
    ("credit falls from 5", lambda e, d: e.credit(running(e, d, output_credit=5), 4)),
    ("credit falls from 5", lambda e, d: d.credit(running(e, d, input_credit=5), 4)),
    (
        "segments of 2 bytes, a payload of 1",
        lambda e, d: d.result(running(e, d), Provenance.OK, segments=(2,), payload=b"x"),
    ),
    ("no more are taken", lambda e, d: [e.call("bash", {}) for _ in range(3)]),
]


@pytest.mark.parametrize(("message", "verb"), LOCAL)
def test_a_verb_that_is_not_allowed_raises_and_leaves_the_link_usable(
    message: str, verb: Callable[[Session, Session], object]
) -> None:
    """Our own mistake never reaches the wire."""
    executor, daemon = pair()
    with pytest.raises(LocalProtocolError, match=message):
        verb(executor, daemon)
    carry(executor, daemon)
    carry(daemon, executor)
    assert executor.state is daemon.state is LinkState.OPEN


def test_input_after_its_end_is_refused_on_both_sides() -> None:
    """End of file is said once."""
    executor, daemon = pair()
    call_id = running(executor, daemon, input_credit=10)
    executor.input(call_id, b"", eof=True)
    with pytest.raises(LocalProtocolError, match="the input has ended"):
        executor.input(call_id, b"")
    carry(executor, daemon)
    with pytest.raises(RemoteProtocolError, match="the input has ended"):
        daemon.receive_data(encode_frame(Input(call_id=call_id, offset=0), sequence=3))


def test_verbs_before_the_first_welcome_and_after_goodbye_are_refused() -> None:
    """Features and limits are not known yet, or nobody listens any more."""
    executor = new_executor()
    for _ in range(2):
        assert not executor.room()
        assert executor.call_room() == 0
        with pytest.raises(LocalProtocolError, match="no call from"):
            executor.call("bash", {})
        executor.goodbye()


def test_frames_that_crossed_a_result_are_dropped_in_silence() -> None:
    """The caller could not know; the daemon's owner is not told."""
    executor, daemon = pair()
    call_id = running(executor, daemon, input_credit=5, output_credit=5)
    daemon.result(call_id, Provenance.OK)
    executor.input(call_id, b"abc")
    executor.credit(call_id, 50)
    executor.cancel(call_id)
    assert carry(executor, daemon) == ()
    assert carry(daemon, executor) == (Result(call_id=call_id, provenance=Provenance.OK),)


def test_rooms_of_a_call_follow_its_credit() -> None:
    """And are 0 when the call is not live."""
    executor, daemon = pair()
    call_id = running(executor, daemon, input_credit=4, output_credit=6)
    executor.input(call_id, b"x")
    daemon.output(call_id, Stream.DATA, b"xy")
    assert (executor.input_room(call_id), daemon.output_room(call_id)) == (3, 4)
    assert (executor.input_room(TWO), daemon.output_room(TWO)) == (0, 0)
    executor.credit(call_id, 10)
    daemon.credit(call_id, 5)
    carry(executor, daemon)
    carry(daemon, executor)
    assert (executor.input_room(call_id), daemon.output_room(call_id)) == (4, 8)


# --- duplicates -------------------------------------------------------------------------------------------


def duplicate(daemon: Session, sequence: int) -> tuple[object, ...]:
    """A foreign caller sends call 1 again, under a new number."""
    call = Call(call_id=ONE, operation="bash", arguments={})
    return daemon.receive_data(encode_frame(call, sequence=sequence))


def test_a_duplicate_call_is_answered_with_the_same_result_and_not_told_again() -> None:
    """The very bytes, number included: a peer that has them drops them."""
    executor, daemon = pair()
    call_id = offered(executor, daemon)
    daemon.accepted(call_id)
    daemon.result(call_id, Provenance.OK, payload=b"once")
    first = daemon.data_to_send()
    assert duplicate(daemon, 2) == ()
    assert duplicate(daemon, 3) == ()
    again = daemon.data_to_send()
    answers = [(sequence, frame) for sequence, frame in frames_of(again) if sequence is not None]
    assert answers == frames_of(first)[-1:]
    assert daemon.data_to_send() == b""
    executor.receive_data(first)
    assert executor.receive_data(encode_frame(answers[0][1], sequence=answers[0][0])) == ()


def test_a_duplicate_of_a_running_call_is_answered_with_accepted() -> None:
    """As long as the peer has not acknowledged it; then it needs no answer."""
    executor, daemon = pair()
    offered(executor, daemon)
    assert duplicate(daemon, 2) == ()
    assert not any(isinstance(frame, Accepted) for _, frame in frames_of(daemon.data_to_send()))
    daemon.accepted(ONE)
    sent = daemon.data_to_send()
    duplicate(daemon, 3)
    assert frames_of(sent)[-1] in frames_of(daemon.data_to_send())
    duplicate(daemon, 4)
    daemon.receive_data(encode_frame(Ack(received=1)))
    assert not [number for number, _ in frames_of(daemon.data_to_send()) if number is not None]
    assert daemon.calls_in_flight == 1


def test_answers_to_duplicates_wait_for_room_in_the_message() -> None:
    """They are packed like everything else."""
    executor, daemon = pair()
    offered(executor, daemon)
    daemon.result(ONE, Provenance.OK, payload=bytes(100))
    sent = daemon.data_to_send()
    duplicate(daemon, 2)
    daemon.heartbeat(1)
    small = daemon.data_to_send(max_bytes=60)
    assert all(number is None for number, _ in frames_of(small))
    assert frames_of(daemon.data_to_send(max_bytes=60)) == frames_of(sent)[-1:]


def test_an_acknowledged_result_is_forgotten() -> None:
    """The memory for duplicates is bounded by what is unfinished."""
    executor, daemon = pair()
    call_id = ended(executor, daemon)
    executor.heartbeat(1)
    carry(executor, daemon)
    assert daemon.unacknowledged_frames == 0
    assert duplicate(daemon, 2) == ()
    assert [frame for _, frame in frames_of(daemon.data_to_send())] == [
        Ack(received=2),
        Heartbeat(nonce=1, echo=True),
    ]
    assert daemon.state_of(call_id) is CallState.ENDED
    assert not daemon._calls.results
    assert not executor._calls.results


# --- room -------------------------------------------------------------------------------------------------


def fill(session: Session) -> None:
    """Use the window up."""
    while session.unacknowledged_frames < session.limits.window_frames:
        session.drain(1.0)


def test_a_full_window_refuses_frames_and_says_so_before() -> None:
    """Bounded: whoever asks room() first never sees BusyError."""
    executor, daemon = pair()
    assert daemon.room()
    fill(daemon)
    assert not daemon.room()
    with pytest.raises(BusyError, match="no room for"):
        daemon.drain(1.0)
    carry(daemon, executor)
    carry(executor, daemon)
    assert daemon.room()


def test_room_promises_a_frame_of_any_size() -> None:
    """A small frame may fit where a full message would not."""
    executor, _ = pair(Limits(max_message_bytes=4096, window_bytes=5000))
    executor.call("x", {}, payload=bytes(900))
    assert not executor.room()
    executor.call("x", {})


def test_cancel_and_credit_are_never_refused_and_go_first_when_there_is_room() -> None:
    """They wait aside, the newest credit replacing the older."""
    executor, daemon = pair(attrs.evolve(SMALL, window_frames=3, max_calls=5))
    first = running(executor, daemon, output_credit=1)
    second = executor.call("x", {})
    executor.credit(first, 2)
    executor.credit(first, 5)  # the window is full now
    executor.credit(first, 7)
    executor.credit(first, 9)
    executor.cancel(first)
    executor.cancel(second)
    assert executor.unacknowledged_frames == 3
    assert executor.state_of(first) is CallState.CANCELLING
    with pytest.raises(BusyError):
        executor.call("x", {})
    heard = []
    for _ in range(6):
        heard += [*carry(executor, daemon)]
        daemon.heartbeat(1)
        carry(daemon, executor)
    told = [event for event in heard if isinstance(event, Cancel | Credit)]
    assert told == [
        Credit(call_id=first, limit_bytes=2),
        Credit(call_id=first, limit_bytes=5),
        Credit(call_id=first, limit_bytes=9),
        Cancel(call_id=first),
        Cancel(call_id=second),
    ]


def test_what_waits_aside_for_a_call_that_ends_is_never_sent() -> None:
    """It would be late."""
    executor, daemon = pair(attrs.evolve(SMALL, window_frames=1))
    call_id = offered(executor, daemon)
    executor.cancel(call_id)
    result = Result(call_id=call_id, provenance=Provenance.OK)
    assert executor.receive_data(encode_frame(result, sequence=1)) == (result,)
    executor.receive_data(encode_frame(Ack(received=1)))
    assert executor.unacknowledged_frames == 0
    executor.call("x", {})
    assert executor.unacknowledged_frames == 1


def test_what_waits_aside_keeps_its_order() -> None:
    """A short frame does not overtake a long one: an older credit could then follow a newer."""
    executor, daemon = pair(Limits(max_message_bytes=4096, window_bytes=4096))
    first = offered(executor, daemon)
    second = offered(executor, daemon)
    executor.heartbeat(1)
    carry(executor, daemon)
    carry(daemon, executor)
    executor.call("x", {}, payload=bytes(3700))
    executor.cancel(first, "r" * 400)
    executor.credit(second, 5)
    heard = [*carry(executor, daemon)]
    carry(daemon, executor)
    heard += carry(executor, daemon)
    assert [type(event) for event in heard] == [Call, Cancel, Credit]


def test_the_number_of_calls_under_way_is_bounded() -> None:
    """call_room() says how many more."""
    executor, daemon = pair()
    assert executor.call_room() == 2
    executor.call("x", {})
    executor.call("x", {})
    assert executor.call_room() == 0
    carry(executor, daemon)
    daemon.result(ONE, Provenance.OK)
    carry(daemon, executor)
    assert executor.call_room() == 1


# --- extensions -------------------------------------------------------------------------------------------

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_traceparent_goes_to_a_daemon_that_takes_one() -> None:
    """It announced the feature."""
    executor = new_executor()
    daemon = meet(executor, features=("bash", TRACEPARENT_FEATURE))
    executor.call("bash", {}, traceparent=TRACEPARENT)
    (call,) = carry(executor, daemon)
    assert isinstance(call, Call)
    assert call.traceparent == TRACEPARENT


def test_a_traceparent_is_kept_from_a_daemon_that_does_not_know_the_field() -> None:
    """One of before would end the link for an unknown field; not even the name is in the bytes."""
    executor, _ = pair()
    executor.call("bash", {}, traceparent=TRACEPARENT)
    assert b"traceparent" not in executor.data_to_send()


def test_a_traceparent_that_is_none_is_refused_before_it_is_sent() -> None:
    """And changes nothing."""
    executor = new_executor()
    meet(executor, features=(TRACEPARENT_FEATURE,))
    with pytest.raises(LocalProtocolError, match="traceparent must be a W3C traceparent"):
        executor.call("bash", {}, traceparent="00-zz")
    assert executor.call("bash", {}) == ONE
