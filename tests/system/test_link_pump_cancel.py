"""A caller that is cancelled while its 20 MB are on the wire tears nothing: it never held the socket."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from hermes_trio.errors import BrokenLinkError, Provenance
from hermes_trio.fleet.calls import CallRecord
from hermes_trio.fleet.connection import DaemonConnection
from hermes_trio.link.auth import TokenGate
from hermes_trio.link.message import MessageLink
from hermes_trio.link.pump import Pump, PumpConfig
from hermes_trio.link.serve import serve_websocket_links
from hermes_trio.link.websocket import open_websocket_link
from hermes_trio.slots.pool import SlotPool
from hermes_trio.wire.codec import FrameDecoder
from hermes_trio.wire.frames import Call, CallId, Epoch, Hello, Limits
from hermes_trio.wire.session import Event, Session

TOKEN = "t" * 64
SIZE = 20_000_000
LIMITS = Limits(max_message_bytes=32 * 1024 * 1024, window_bytes=64 * 1024 * 1024)


class Answering:
    """A daemon's end that answers each call with the size of its payload."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    async def serve(self, link: MessageLink, _peer: str) -> None:
        """One session."""
        [(_, hello)] = FrameDecoder(LIMITS.max_message_bytes).feed(await link.receive_message())
        assert isinstance(hello, Hello)
        session = Session.for_daemon(hello, epoch=Epoch(1), limits=LIMITS, slots=1, isolation={})
        session.accept(hello)
        pump = Pump(session, on_event=lambda event: self._hear(pump, event))
        with pytest.raises(BrokenLinkError):
            await pump.run(link)

    def _hear(self, pump: Pump, event: Event) -> None:
        if isinstance(event, Call):
            self.calls.append(event)
            pump.post(partial(self._answer, event.call_id, len(event.payload)))

    @staticmethod
    def _answer(call_id: CallId, size: int, session: Session) -> None:
        session.result(call_id, Provenance.OK, data={"size": size})


def call(payload: bytes) -> CallRecord:
    """A call that nobody has to understand."""
    return CallRecord(operation="write_file", arguments={}, trajectory_id="t", payload=payload)


@pytest.mark.slow
async def test_a_cancelled_caller_tears_no_frame_of_20_mb() -> None:
    """The frame arrives whole, the link goes on, and the next call is answered over it."""
    daemon = Answering()
    opened = trio.Event()
    connection = DaemonConnection(
        "d", listener=SlotPool(), on_open=opened.set, limits=LIMITS, pump=PumpConfig()
    )
    async with trio.open_nursery() as nursery:
        serve = partial(
            serve_websocket_links,
            daemon.serve,
            host="127.0.0.1",
            port=0,
            check_token=TokenGate([TOKEN]),
            health=dict,
            max_message_bytes=LIMITS.max_message_bytes,
            max_connections=4,
        )
        port = await nursery.start(serve)
        url, most = f"ws://127.0.0.1:{port}", LIMITS.max_message_bytes
        async with (
            open_websocket_link(url, token=TOKEN, max_message_bytes=most, connect_timeout=5) as link,
            trio.open_nursery() as driving,
        ):
            driving.start_soon(connection.run, link)
            await opened.wait()
            big = call(bytes(SIZE))
            connection.submit(big)
            while big.call_id is None:
                await trio.lowlevel.checkpoint()
            with trio.move_on_after(0) as scope:  # written, and the send under way: more than a socket takes
                await big.wait_ended()
            assert scope.cancelled_caught
            assert not daemon.calls, "all of it had arrived before the cancel"
            small = call(b"after")
            connection.submit(small)
            await small.wait_ended()
            assert small.unwrap().data == {"size": 5}
            await big.wait_ended()
            assert big.unwrap().data == {"size": SIZE}
            assert [len(heard.payload) for heard in daemon.calls] == [SIZE, 5]
            driving.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
