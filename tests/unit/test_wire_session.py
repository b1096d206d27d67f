"""The session: greetings, verbs, duplicates, credit, room, and what becomes of bad peers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from hermes_trio.errors import BusyError, LocalProtocolError, Provenance, RemoteProtocolError
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
    Output,
    Result,
    SessionId,
    SlotId,
    Stream,
    Welcome,
)
from hermes_trio.wire.session import CallState, LinkState, Role, Session, SessionReset

ONE = CallId(1)
TWO = CallId(2)
LEASE = Lease(slot=SlotId("slot-1"), epoch=3)
SMALL = Limits(max_message_bytes=4096, max_calls=2, window_frames=4, window_bytes=8192)


def new_executor(limits: Limits = SMALL, **options: Any) -> Session:
    """An executor's side without a link."""
    return Session.for_executor(SessionId("s-1"), limits=limits, **options)


def read_hello(executor: Session) -> Hello:
    """What the executor says first."""
    ((sequence, hello),) = frames_of(executor.data_to_send())
    assert sequence is None
    assert isinstance(hello, Hello)
    return hello


def new_daemon(hello: Hello, *, epoch: int = 7, limits: Limits = SMALL) -> Session:
    """A daemon's side that has not answered yet."""
    return Session.for_daemon(
        hello, epoch=Epoch(epoch), limits=limits, features=("bash",), slots=4, isolation={"level": "ns"}
    )


def frames_of(data: bytes) -> list[tuple[int | None, Frame]]:
    """Bytes, read by an independent decoder."""
    decoder = FrameDecoder(1 << 24)
    frames = decoder.feed(data)
    assert decoder.leftover == b""
    return frames


def meet(executor: Session, daemon: Session | None = None, **options: Any) -> Session:
    """Bring up a link between the two, greetings only; returns the daemon's side."""
    daemon = meet_without_answer(executor, daemon, **options)
    executor.receive_data(daemon.data_to_send(max_bytes=1))
    return daemon


def meet_without_answer(executor: Session, daemon: Session | None = None, **options: Any) -> Session:
    """The hello arrives, the welcome has not left."""
    executor.link_up()
    hello = read_hello(executor)
    daemon = daemon or new_daemon(hello, **options)
    daemon.accept(hello)
    return daemon


def pair(limits: Limits = SMALL) -> tuple[Session, Session]:
    """Two sides that have met."""
    executor = new_executor(limits)
    return executor, meet(executor, limits=limits)


def carry(source: Session, sink: Session) -> tuple[object, ...]:
    """Move all that waits; returns what the sink says of it."""
    events: list[object] = []
    while source.has_data:
        events += sink.receive_data(source.data_to_send())
    assert source.data_to_send() == b""
    return tuple(events)


def cut(*sessions: Session) -> None:
    """Lose whatever is under way."""
    for session in sessions:
        session.data_to_send()
        session.link_lost()


def offered(executor: Session, daemon: Session, **options: Any) -> CallId:
    """A call that the daemon has heard of."""
    call_id = executor.call("bash", {"command": "ls"}, **options)
    carry(executor, daemon)
    return call_id


def running(executor: Session, daemon: Session, *, input_credit: int = 0, **options: Any) -> CallId:
    """A call of which both know that it runs."""
    call_id = offered(executor, daemon, **options)
    daemon.accepted(call_id, input_credit=input_credit)
    carry(daemon, executor)
    return call_id


# --- greetings --------------------------------------------------------------------------------------------


def test_hello_and_welcome_open_a_session() -> None:
    """Each side learns of the other what it must know."""
    executor = new_executor(features=("streams",), token="secret")
    executor.link_up()
    hello = read_hello(executor)
    assert hello == Hello(
        protocol=1,
        session_id=SessionId("s-1"),
        epoch=None,
        received=0,
        limits=SMALL,
        features=("streams",),
        token="secret",
    )
    assert "secret" not in repr(hello)
    daemon = new_daemon(hello)
    daemon.accept(hello)
    (welcome,) = carry(daemon, executor)
    assert welcome == Welcome(
        protocol=1,
        session_id=SessionId("s-1"),
        epoch=Epoch(7),
        resumed=False,
        received=0,
        limits=SMALL,
        features=("bash",),
        slots=4,
        isolation={"level": "ns"},
    )
    assert executor.peer_features == ("bash",)
    assert daemon.peer_features == ("streams",)
    assert executor.epoch == daemon.epoch == 7
    assert executor.state is daemon.state is LinkState.OPEN


def test_both_sides_keep_to_the_lower_of_each_limit() -> None:
    """Whoever announces less is obeyed."""
    ours = Limits(max_message_bytes=5000, max_calls=9, window_frames=3, window_bytes=9000)
    theirs = Limits(max_message_bytes=6000, max_calls=5, window_frames=8, window_bytes=7000)
    executor = new_executor(ours)
    daemon = meet(executor, limits=theirs)
    agreed = Limits(max_message_bytes=5000, max_calls=5, window_frames=3, window_bytes=7000)
    assert executor.limits == daemon.limits == agreed


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"max_message_bytes": 4095}, "at least 4096"), ({"window_bytes": 4095}, "at least max_message_bytes")],
)
def test_limits_that_cannot_work_are_refused_on_both_sides(changes: dict[str, int], message: str) -> None:
    """Here as our own mistake, there as the peer's."""
    bad = attrs.evolve(SMALL, **changes)
    with pytest.raises(LocalProtocolError, match=message):
        new_executor(bad)
    executor = new_executor()
    executor.link_up()
    hello = read_hello(executor)
    daemon = new_daemon(hello)
    with pytest.raises(RemoteProtocolError, match=message):
        daemon.accept(attrs.evolve(hello, limits=bad))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"protocol": 2}, ErrorCode.VERSION),
        ({"session_id": "other"}, ErrorCode.SESSION),
        ({"incarnation": 5}, ErrorCode.SESSION),
    ],
)
def test_a_hello_that_cannot_be_answered_is_refused_with_its_code(
    changes: dict[str, Any], code: ErrorCode
) -> None:
    """The peer is told why; the session stays for a better hello."""
    executor = new_executor()
    executor.link_up()
    hello = read_hello(executor)
    daemon = new_daemon(hello)
    with pytest.raises(RemoteProtocolError) as caught:
        daemon.accept(attrs.evolve(hello, **changes))
    ((_, error),) = frames_of(daemon.data_to_send())
    assert error == Error(code=code, message=str(caught.value))
    assert daemon.link_error is caught.value
    daemon.accept(hello)
    assert carry(daemon, executor)


def welcome_of(executor: Session, **changes: Any) -> bytes:
    """A welcome, spoilt."""
    good = Welcome(
        protocol=1,
        session_id=SessionId("s-1"),
        epoch=Epoch(7),
        resumed=False,
        received=0,
        limits=SMALL,
        slots=1,
    )
    return encode_frame(attrs.evolve(good, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": 2}, "speaks version 1"),
        ({"session_id": "other"}, "another session"),
        ({"resumed": True}, "resumes what never began"),
        ({"received": 3}, "must be 0 at a beginning"),
    ],
)
def test_a_first_welcome_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    """The executor does not begin on a contradiction."""
    executor = new_executor()
    executor.link_up()
    executor.data_to_send()
    with pytest.raises(RemoteProtocolError, match=message):
        executor.receive_data(welcome_of(executor, **changes))
    assert not executor.begun


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 8}, "another epoch"),
        ({"limits": attrs.evolve(SMALL, max_calls=9)}, "limits must not change"),
        ({"received": 9}, "acknowledged 9"),
    ],
)
def test_a_resumption_that_contradicts_what_was_is_refused(changes: dict[str, Any], message: str) -> None:
    """The session stays as it was, for a better link."""
    executor, daemon = pair()
    offered(executor, daemon)
    cut(executor, daemon)
    executor.link_up()
    executor.data_to_send()
    with pytest.raises(RemoteProtocolError, match=message):
        executor.receive_data(welcome_of(executor, resumed=True, **changes))
    assert executor.live_calls == (ONE,)


def test_nothing_but_greetings_is_taken_before_the_session_is_open() -> None:
    """A daemon that talks before its welcome is refused."""
    executor = new_executor()
    executor.link_up()
    with pytest.raises(RemoteProtocolError, match="heartbeat when the link is greeted"):
        executor.receive_data(encode_frame(Heartbeat(nonce=1)))


@pytest.mark.parametrize("frame", [Hello, Welcome])
def test_a_second_greeting_is_refused(frame: type) -> None:
    """Greetings happen once on a link."""
    executor, daemon = pair()
    hello = Hello(protocol=1, session_id=SessionId("s-1"), epoch=None, received=0, limits=SMALL)
    with pytest.raises(RemoteProtocolError, match="hello when the link is open"):
        daemon.receive_data(encode_frame(hello))
    with pytest.raises(RemoteProtocolError, match="welcome when the link is open"):
        executor.receive_data(welcome_of(executor))


def test_each_side_has_its_own_way_to_a_link() -> None:
    """The executor greets first, and nobody greets when it is over."""
    executor, daemon = pair()
    hello = Hello(protocol=1, session_id=SessionId("s-1"), epoch=None, received=0, limits=SMALL)
    with pytest.raises(LocalProtocolError, match="an executor has link_up"):
        daemon.link_up()
    with pytest.raises(LocalProtocolError, match="an executor has link_up"):
        executor.accept(hello)
    executor.goodbye()
    with pytest.raises(LocalProtocolError, match="session is over"):
        executor.link_up()


# --- resume -----------------------------------------------------------------------------------------------


def test_a_lost_first_welcome_is_said_again() -> None:
    """The session begins once more, and nobody believes that anything was lost."""
    executor = new_executor()
    daemon = meet_without_answer(executor)
    daemon.drain(1.0)
    cut(executor, daemon)
    meet(executor, daemon)
    assert executor.state is LinkState.OPEN
    assert carry(daemon, executor) == (Drain(grace_s=1.0),)


def test_what_was_not_acknowledged_is_sent_again_and_heard_once() -> None:
    """In both directions, in order, before anything new."""
    executor, daemon = pair()
    call_id = offered(executor, daemon)
    daemon.accepted(call_id)
    executor.cancel(call_id)
    cut(executor, daemon)
    meet(executor, daemon)
    assert carry(executor, daemon) == (Cancel(call_id=call_id),)
    daemon.result(call_id, Provenance.CANCELLED)
    heard = carry(daemon, executor)
    assert heard == (
        Accepted(call_id=call_id),
        Result(call_id=call_id, provenance=Provenance.CANCELLED),
    )
    assert executor.calls_in_flight == daemon.calls_in_flight == 0


def test_verbs_between_two_links_wait_for_the_next() -> None:
    """The session lives without a link."""
    executor, daemon = pair()
    cut(executor, daemon)
    call_id = executor.call("bash", {})
    assert not executor.has_data
    assert executor.data_to_send() == b""
    meet(executor, daemon)
    (call,) = carry(executor, daemon)
    assert isinstance(call, Call)
    assert call.call_id == call_id


def test_a_new_link_supersedes_one_that_nobody_saw_fail() -> None:
    """Half a frame of the old link does not spoil the new one."""
    executor, daemon = pair()
    executor.call("bash", {})
    daemon.receive_data(executor.data_to_send()[:20])
    meet(executor, daemon)
    (call,) = carry(executor, daemon)
    assert isinstance(call, Call)


@pytest.mark.parametrize("epoch", [7, 8])
def test_a_daemon_that_forgot_the_session_resets_it(epoch: int) -> None:
    """A new epoch, or the same: what was under way is lost, and what never left is known not to have run."""
    executor, daemon = pair()
    first = offered(executor, daemon)
    cut(executor, daemon)
    second = executor.call("bash", {})
    executor.link_up()
    hello = read_hello(executor)
    daemon = new_daemon(hello, epoch=epoch)
    daemon.accept(hello)
    reset, welcome = carry(daemon, executor)
    assert reset == SessionReset(calls=(first, second), epoch=Epoch(epoch), not_started=(second,))
    assert isinstance(welcome, Welcome)
    assert executor.calls_in_flight == executor.unacknowledged_frames == 0
    third = offered(executor, daemon)
    assert (third, daemon.live_calls) == (CallId(3), (CallId(3),))


def test_a_lost_welcome_of_a_second_beginning_is_no_resumption() -> None:
    """Same session, same epoch, forgotten and begun again: only the count of beginnings can tell."""
    executor, daemon = pair()
    offered(executor, daemon)
    cut(executor, daemon)
    daemon = meet_without_answer(executor)
    cut(executor, daemon)
    executor.link_up()
    daemon.accept(read_hello(executor))
    reset, _ = carry(daemon, executor)
    assert reset == SessionReset(calls=(ONE,), epoch=Epoch(7))


def test_a_reset_is_told_even_when_no_call_was_under_way() -> None:
    """Leases are gone, too."""
    executor, daemon = pair()
    cut(executor, daemon)
    executor.link_up()
    hello = read_hello(executor)
    daemon = new_daemon(hello, epoch=8)
    daemon.accept(hello)
    reset, _ = carry(daemon, executor)
    assert reset == SessionReset(calls=(), epoch=Epoch(8))


def test_a_hello_from_before_the_beginning_is_refused_once_work_has_come() -> None:
    """An executor that lost its memory must not take over a session that has one."""
    executor, daemon = pair()
    offered(executor, daemon)
    again = new_executor()
    again.link_up()
    with pytest.raises(RemoteProtocolError, match="another beginning"):
        daemon.accept(read_hello(again))


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


def ended(executor: Session, daemon: Session) -> CallId:
    """A call of which both know that it has ended."""
    call_id = offered(executor, daemon)
    daemon.result(call_id, Provenance.OK)
    carry(daemon, executor)
    return call_id


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
