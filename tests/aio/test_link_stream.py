"""The worker's end of a call's output: bounded, in small chunks, and only under credit."""

from __future__ import annotations

from collections.abc import Callable

from hermes_trio.link.stream import CHUNK_BYTES, HIGH_WATER_BYTES, OutgoingStream
from hermes_trio.testing.sessions import carry, pair
from hermes_trio.wire.frames import Call, CallId, Limits, Output
from hermes_trio.wire.session import Session

PIECE = bytes(range(256)) * 128


class Writer:
    """Stands in for a pump: keeps what is posted until it is told to write."""

    def __init__(self) -> None:
        self.posted: list[Callable[[Session], object]] = []

    def post(self, write: Callable[[Session], object], *, lane: object = None) -> None:
        """As a pump takes it."""
        assert lane == "t"
        self.posted.append(write)

    def write_all(self, session: Session) -> int:
        """Let the writer come by until nothing is posted; returns how often it did."""
        rounds = 0
        while self.posted:
            self.posted.pop(0)(session)
            rounds += 1
        return rounds


def begun(credit: int) -> tuple[Session, Session, Writer, OutgoingStream]:
    """A call that runs, with so much credit."""
    executor, daemon = pair(Limits())
    call_id = executor.call("bash", {}, trajectory_id="t", output_credit=credit)
    carry(executor, daemon)
    daemon.accepted(call_id)
    writer = Writer()
    call = Call(call_id=CallId(call_id), operation="bash", arguments={}, trajectory_id="t")
    return executor, daemon, writer, OutgoingStream(writer, call)  # type: ignore[arg-type]


def received(executor: Session, daemon: Session) -> list[bytes]:
    """The chunks that arrive."""
    return [event.payload for event in carry(daemon, executor) if isinstance(event, Output)]


def test_a_feeder_is_stopped_at_the_high_water_mark_and_woken_below_half_of_it() -> None:
    """What is held is bounded whatever the caller does."""
    _executor, daemon, writer, stream = begun(credit=HIGH_WATER_BYTES)
    woken: list[int] = []
    stream.resume = lambda: woken.append(stream._held_bytes)
    fed = 0
    while stream.feed(1, PIECE):
        fed += len(PIECE)
    assert fed + len(PIECE) == HIGH_WATER_BYTES
    assert repr(stream) == f"<OutgoingStream of call 1: {HIGH_WATER_BYTES} bytes held>"
    writer.write_all(daemon)
    assert woken == [HIGH_WATER_BYTES // 2]


def test_chunks_are_small_and_queue_up_again_one_by_one() -> None:
    """So a flood takes turns: never is more than one of its chunks posted."""
    executor, daemon, writer, stream = begun(credit=10**6)
    stream.feed(1, PIECE)
    stream.feed(2, b"err")
    assert len(writer.posted) == 1
    assert writer.write_all(daemon) == len(PIECE) // CHUNK_BYTES + 1
    chunks = received(executor, daemon)
    assert (b"".join(chunks), max(map(len, chunks))) == (PIECE + b"err", CHUNK_BYTES)
    assert stream._empty.is_set()


def test_without_credit_nothing_is_sent_and_nothing_is_posted_again() -> None:
    """Credit wakes it; a close drops what is left and wakes the feeder."""
    executor, daemon, writer, stream = begun(credit=10)
    stream.feed(1, PIECE)
    assert writer.write_all(daemon) == 2
    assert received(executor, daemon) == [PIECE[:10]]
    executor.credit(CallId(1), 30)
    carry(executor, daemon)
    stream.more()
    writer.write_all(daemon)
    assert received(executor, daemon) == [PIECE[10:30]]
    woken: list[bool] = []
    stream.resume = lambda: woken.append(True)
    while stream.feed(1, PIECE):
        pass
    stream.close()
    assert woken == [True]
    assert stream.feed(1, PIECE)
    writer.write_all(daemon)
    assert received(executor, daemon) == []
