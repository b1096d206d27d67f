"""The stream below a websocket, on real sockets: Trio's own manners without its large allocations."""

from __future__ import annotations

import socket
import struct
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from hermes_trio.link.receive import RECEIVE_BUFFER_BYTES, SteadyStream


@asynccontextmanager
async def open_pair() -> AsyncIterator[tuple[SteadyStream, trio.SocketStream]]:
    """The stream under test, and a peer on TCP."""
    with trio.fail_after(20):
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            peer = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
            stream = SteadyStream(await listener.accept())
        async with stream, peer:
            yield stream, peer


async def test_what_was_received_stays_as_it_was() -> None:
    """The buffer is used again; what was handed out is not in it."""
    async with open_pair() as (stream, peer):
        await peer.send_all(b"one")
        first = await stream.receive_some()
        await peer.send_all(b"two")
        assert await stream.receive_some() == b"two"
        assert first == b"one"
        await stream.wait_send_all_might_not_block()
        await stream.send_all(b"back")
        assert await peer.receive_some() == b"back"


@pytest.mark.parametrize("most", [1, 5, None, 10 * RECEIVE_BUFFER_BYTES])
async def test_any_size_may_be_asked_for(most: int | None) -> None:
    """Never more than that, and never nothing before the end."""
    async with open_pair() as (stream, peer):
        await peer.send_all(b"0123456789")
        await peer.send_eof()
        received = b""
        while piece := await stream.receive_some(most):
            assert len(piece) <= (most or len(piece))
            received += piece
        assert received == b"0123456789"


async def test_a_reset_is_a_broken_stream() -> None:
    """As with the stream below, and not an ``OSError``."""
    async with open_pair() as (stream, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await peer.aclose()
        with pytest.raises(trio.BrokenResourceError, match="socket connection broken"):
            await stream.receive_some()


async def test_closing_wakes_the_receiver_and_stays() -> None:
    """Whoever waits hears of it, and so does whoever comes later."""
    async with open_pair() as (stream, _):
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await stream.receive_some()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await stream.aclose()
        with pytest.raises(trio.ClosedResourceError, match="already closed"):
            await stream.receive_some()


async def test_few_bytes_take_few_bytes() -> None:
    """What the heap must find room for is what came, not what might have come."""
    async with open_pair() as (stream, peer):
        tracemalloc.start()
        try:
            await peer.send_all(b"x")
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            assert await stream.receive_some(RECEIVE_BUFFER_BYTES) == b"x"
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak - before < 16 * 1024
