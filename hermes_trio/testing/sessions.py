"""Two sides of a session in one hand, without a link: for tests of what is said over the wire.

Everything here is synchronous; "carrying" is handing one side's bytes to the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hermes_trio.errors import Provenance
from hermes_trio.wire.codec import FrameDecoder
from hermes_trio.wire.frames import CallId, Epoch, Frame, Hello, Limits, SessionId
from hermes_trio.wire.session import Event, Session

SMALL_LIMITS = Limits(max_message_bytes=4096, max_calls=2, window_frames=4, window_bytes=8192)
"""Windows that a test can fill."""


def new_executor(limits: Limits = SMALL_LIMITS, **options: Any) -> Session:
    """An executor's side without a link."""
    return Session.for_executor(SessionId("s-1"), limits=limits, **options)


def read_hello(executor: Session) -> Hello:
    """What the executor says first."""
    ((sequence, hello),) = frames_of(executor.data_to_send())
    assert sequence is None
    assert isinstance(hello, Hello)
    return hello


def new_daemon(
    hello: Hello, *, epoch: int = 7, limits: Limits = SMALL_LIMITS, features: Sequence[str] = ("bash",)
) -> Session:
    """A daemon's side that has not answered yet."""
    return Session.for_daemon(
        hello, epoch=Epoch(epoch), limits=limits, features=features, slots=4, isolation={"level": "ns"}
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


def pair(limits: Limits = SMALL_LIMITS) -> tuple[Session, Session]:
    """Two sides that have met."""
    executor = new_executor(limits)
    return executor, meet(executor, limits=limits)


def carry(source: Session, sink: Session) -> tuple[Event, ...]:
    """Move all that waits; returns what the sink says of it."""
    events: list[Event] = []
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


def ended(executor: Session, daemon: Session) -> CallId:
    """A call of which both know that it has ended."""
    call_id = offered(executor, daemon)
    daemon.result(call_id, Provenance.OK)
    carry(daemon, executor)
    return call_id
