"""One connection of the HTTP server, between a real socket and an application that misbehaves."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from hermes_trio.api.guard import AsgiApp, Message, Receive, Send
from hermes_trio.api.limits import ApiLimits
from hermes_trio.api.listening import HttpListener, bound_socket

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
FRAME = b"\x81\x81\0\0\0\0x"


@asynccontextmanager
async def served(app: AsgiApp) -> AsyncIterator[tuple[HttpListener, trio.SocketStream]]:
    """A listener with one client."""
    listening = bound_socket("127.0.0.1", 0)
    listener, stop = HttpListener(app, listening, ApiLimits()), trio.Event()
    async with trio.open_nursery() as nursery:

        async def run(task_status: trio.TaskStatus[None]) -> None:
            await listener.run(stop=stop, task_status=task_status)

        await nursery.start(run)
        yield listener, await trio.open_tcp_stream(*listening.getsockname())
        stop.set()


async def left(listener: HttpListener) -> None:
    """Until the listener has no connection."""
    with trio.fail_after(10):
        while listener.connections:  # noqa: ASYNC110 - a count sends no events
            await trio.sleep(0.01)


async def test_a_client_that_resets_behind_an_answer_in_pieces_is_let_go() -> None:
    """Though its next request was in the reader's hands."""
    flowing = trio.Event()

    async def app(_scope: Message, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        flowing.set()
        while True:
            await send({"type": "http.response.body", "body": b"x" * 1024, "more_body": True})

    async with served(app) as (listener, client):
        await client.send_all(GET + GET)
        await flowing.wait()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await client.aclose()
        await left(listener)


async def test_a_websocket_whose_route_has_ended_unread_is_let_go() -> None:
    """Whatever its client had sent, and however much."""

    async def app(_scope: Message, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await trio.testing.wait_all_tasks_blocked(0.1)
        await send({"type": "websocket.close", "code": 1000})

    async with served(app) as (listener, client):
        await client.send_all(UPGRADE)
        assert (await client.receive_some()).startswith(b"HTTP/1.1 101")
        await client.send_all(FRAME * 10)
        await trio.testing.wait_all_tasks_blocked(0.1)
        await client.aclose()
        await left(listener)


@pytest.mark.parametrize("status", [200, 204])
async def test_the_head_of_an_answer_goes_out_with_its_body_or_its_end(status: int) -> None:
    """Nobody waits for a head that is held back for a body that never comes."""

    async def app(_scope: Message, _receive: Receive, send: Send) -> None:
        body = b"" if status == 204 else b"HTTP/1.1 is\r\ncontent-length: not a head"
        length = [(b"content-length", b"%d" % len(body))] if body else []
        await send({"type": "http.response.start", "status": status, "headers": length})
        await send({"type": "http.response.body", "body": body})

    async with served(app) as (_, client):
        for _ in range(2):
            await client.send_all(GET)
            with trio.fail_after(5):
                answer = bytes(await client.receive_some())
            assert answer.startswith(b"HTTP/1.1 %d" % status)
            assert status == 204 or answer.endswith(b"not a head")
        await client.aclose()
