"""The session: greetings, beginnings, resumption."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from hermes_trio.errors import LocalProtocolError, Provenance, RemoteProtocolError
from hermes_trio.testing.sessions import SMALL_LIMITS as SMALL
from hermes_trio.testing.sessions import (
    carry,
    cut,
    frames_of,
    meet,
    meet_without_answer,
    new_daemon,
    new_executor,
    offered,
    pair,
    read_hello,
)
from hermes_trio.wire.codec import encode_frame
from hermes_trio.wire.frames import (
    Accepted,
    Call,
    CallId,
    Cancel,
    Drain,
    Epoch,
    Error,
    ErrorCode,
    Heartbeat,
    Hello,
    Limits,
    Result,
    SessionId,
    Welcome,
)
from hermes_trio.wire.session import LinkState, Session, SessionReset

ONE = CallId(1)


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
