"""The pump: packing, heartbeats, and callers that cannot tear a frame."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from hermes_trio.errors import BrokenLinkError, RemoteProtocolError
from hermes_trio.link.message import MessageLink
from hermes_trio.link.pump import Pump, PumpConfig
from hermes_trio.testing.links import open_memory_links
from hermes_trio.wire.codec import FrameDecoder
from hermes_trio.wire.frames import Call, Epoch, Hello, Limits, SessionId, Welcome
from hermes_trio.wire.session import Event, Session

LIMITS = Limits()


class Pair:
    """Two pumps over one link in memory, and what each has heard."""

    def __init__(self, *, near: PumpConfig | None = None, far: PumpConfig | None = None) -> None:
        self.heard_near: list[Event] = []
        self.heard_far: list[Event] = []
        executor = Session.for_executor(SessionId("s"), limits=LIMITS)
        self.near = Pump(executor, on_event=self.heard_near.append, config=near)
        self._far_config = far
        self.far: Pump | None = None

    async def serve(self, link: MessageLink) -> None:
        """The daemon's side."""
        [(_, hello)] = FrameDecoder(LIMITS.max_message_bytes).feed(await link.receive_message())
        assert isinstance(hello, Hello)
        session = Session.for_daemon(hello, epoch=Epoch(1), limits=LIMITS, slots=1, isolation={})
        session.accept(hello)
        self.far = Pump(session, on_event=self.heard_far.append, config=self._far_config)
        await self.far.run(link)

    @asynccontextmanager
    async def linked(self) -> AsyncIterator[tuple[MessageLink, MessageLink]]:
        """Both pumps running; leaving cancels them."""
        near, far = open_memory_links()
        self.near.session.link_up()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.near.run, near)
            nursery.start_soon(self.serve, far)
            await trio.testing.wait_all_tasks_blocked()
            yield near, far
            nursery.cancel_scope.cancel()


def calls(events: list[Event]) -> list[Call]:
    """The calls among them."""
    return [event for event in events if isinstance(event, Call)]


def call_writer(command: str):  # type: ignore[no-untyped-def]
    """A posting that makes a call."""
    return lambda session: session.call("bash", {"command": command})


async def test_what_is_posted_at_once_travels_in_one_message(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An idle link does not wait, and does not send one message for each call either."""
    pair = Pair()
    async with pair.linked():
        before = pair.near.statistics().messages_sent
        for number in range(50):
            pair.near.post(call_writer(str(number)), lane=number)
        await trio.testing.wait_all_tasks_blocked()
        assert pair.near.statistics().messages_sent - before <= 2
        assert len(calls(pair.heard_far)) == 50
        assert isinstance(pair.heard_near[0], Welcome)


async def test_a_message_that_is_full_takes_no_further_posting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Who has much to say goes on in the next message, behind the others."""
    pair = Pair(near=PumpConfig(max_batch_bytes=10_000))
    sizes: list[int] = []
    async with pair.linked():
        pair.near.tap = lambda sent, data: sizes.append(len(data)) if sent else None
        left = 6

        def say_much(session: Session) -> None:
            nonlocal left
            left -= 1
            session.call("bash", {"command": "much"}, payload=bytes(6_000))
            if left:
                pair.near.post(say_much, lane="much")

        pair.near.post(say_much, lane="much")
        pair.near.post(call_writer("little"), lane="little")
        await trio.testing.wait_all_tasks_blocked()
    order = [call.arguments["command"] for call in calls(pair.heard_far)]
    assert order == ["much", "little", *["much"] * 5]
    assert max(sizes) < 13_000
    assert len(sizes) >= 3


async def test_max_batch_size_caps_a_message(autojump_clock: trio.testing.MockClock) -> None:
    """50 calls with at most 10 in a message are at least 5 messages."""
    pair = Pair(near=PumpConfig(max_batch_size=10))
    async with pair.linked():
        before = pair.near.statistics().messages_sent
        for number in range(50):
            pair.near.post(call_writer(str(number)), lane=number)
        await trio.testing.wait_all_tasks_blocked()
        assert pair.near.statistics().messages_sent - before >= 5


async def test_a_batch_window_ends_when_the_batch_is_full(autojump_clock: trio.testing.MockClock) -> None:
    """The first posting waits for company, but not for more company than fits."""
    pair = Pair(near=PumpConfig(batch_window_s=10.0, max_batch_size=3))
    async with pair.linked():
        started = trio.current_time()
        for number in range(3):
            pair.near.post(call_writer(str(number)), lane=number)
        await trio.testing.wait_all_tasks_blocked()
        assert len(calls(pair.heard_far)) == 3
        assert trio.current_time() == started
        pair.near.post(call_writer("alone"), lane=0)
        await trio.sleep(9.9)
        assert len(calls(pair.heard_far)) == 3
        await trio.sleep(0.2)
        assert len(calls(pair.heard_far)) == 4


async def test_a_silent_peer_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """A half-open link never raises by itself; silence does."""
    pair = Pair(near=PumpConfig(heartbeat_s=1.0, dead_after_s=3.0))
    near, _far = open_memory_links()
    pair.near.session.link_up()
    with pytest.raises(BrokenLinkError, match=r"silent for 3\.0 s"):
        await pair.near.run(near)
    assert trio.current_time() == pytest.approx(3.0)


async def test_heartbeats_keep_an_idle_link_up(autojump_clock: trio.testing.MockClock) -> None:
    """Both loops turn, so nobody is given up however long nothing happens."""
    lively = PumpConfig(heartbeat_s=1.0, dead_after_s=3.0)
    pair = Pair(near=lively, far=lively)
    async with pair.linked():
        await trio.sleep(100)
        assert pair.far is not None
        assert pair.far.statistics().bytes_received > 0


async def test_garbage_ends_the_link_and_the_peer_is_told(autojump_clock: trio.testing.MockClock) -> None:
    """The error frame is the last thing a peer hears that broke the protocol."""
    pair = Pair()
    near, far = open_memory_links()
    pair.near.session.link_up()
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            with pytest.raises(RemoteProtocolError):
                await pair.near.run(near)

        nursery.start_soon(run)
        await far.receive_message()
        await far.send_message(b"\xff" * 64)
        last_words = await far.receive_message()
    assert b'"error"' in last_words


async def test_wait_flushed_means_handed_to_the_link(autojump_clock: trio.testing.MockClock) -> None:
    """What was posted before it is on its way after it."""
    pair = Pair()
    async with pair.linked():
        pair.near.post(call_writer("last"), lane=0)
        await pair.near.wait_flushed()
        assert pair.near.statistics().queued == 0
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(pair.heard_far[-1], Call)


async def test_nothing_is_entrusted_to_a_peer_that_has_missed_a_heartbeat(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Control still goes out; calls go when the peer is heard again."""
    suspicions: list[tuple[bool, float]] = []
    pump = Pump(
        Session.for_executor(SessionId("s"), limits=LIMITS),
        on_event=lambda _event: None,
        on_suspect=lambda suspect: suspicions.append((suspect, trio.current_time())),
        config=PumpConfig(heartbeat_s=1.0, dead_after_s=50.0),
    )
    near, far = open_memory_links()
    pump.session.link_up()
    decoder, heard = FrameDecoder(LIMITS.max_message_bytes), []

    async def listen() -> None:
        while True:
            heard.extend(frame for _, frame in decoder.feed(await far.receive_message()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.run, near)
        [(_, hello)] = decoder.feed(await far.receive_message())
        assert isinstance(hello, Hello)
        session = Session.for_daemon(hello, epoch=Epoch(1), limits=LIMITS, slots=1, isolation={})
        session.accept(hello)
        await far.send_message(session.data_to_send())
        nursery.start_soon(listen)
        await trio.sleep(3)
        assert (suspicions, pump.suspect) == ([(True, 1.5)], True)
        pump.post(call_writer("late"), lane="t")
        pump.post(call_writer("control"))
        await trio.sleep(10)
        assert [call.arguments["command"] for call in calls(heard)] == ["control"]
        session.heartbeat(7)
        await far.send_message(session.data_to_send())
        await trio.testing.wait_all_tasks_blocked()
        assert [call.arguments["command"] for call in calls(heard)] == ["control", "late"]
        assert suspicions == [(True, 1.5), (False, 13.0)]
        nursery.cancel_scope.cancel()
