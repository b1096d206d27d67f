"""Clients that mean no good: refused, bounded, and the others are served meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
import trio
from attrs import evolve

from hermes_trio.api.limits import ApiLimits
from hermes_trio.api.server import ApiServer, open_server
from hermes_trio.errors import Provenance
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.telemetry.events import CallEnded
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend

LIMITS = ApiLimits(
    head_limit_s=0.5, body_limit_s=0.5, stall_limit_s=0.5, max_body_bytes=64 * 1024, max_connections=64
)
HEAD = b"POST /execute HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@asynccontextmanager
async def serving(
    *, token: str | None = None, limits: ApiLimits = LIMITS
) -> AsyncIterator[tuple[ApiServer, Executor]]:
    """A server with tight bounds. It must serve others to the end, and hold no connection then."""
    async with (
        open_executor(MemoryBackend({"d": FakeDaemon(slots=4)})) as executor,
        open_server(executor, token=token, limits=limits) as server,
    ):
        yield server, executor
        async with httpx.AsyncClient(base_url=server.url, timeout=5) as client:
            assert (await client.get("/health")).status_code == 200
            headers = {"authorization": f"Bearer {token}"} if token else {}
            call = {"trajectory_id": "o", "tool": {"name": "bash", "arguments": {"command": "echo fine"}}}
            answer = await client.post("/execute", json=call, headers=headers)
            assert answer.json()["output"] == "fine"
        with trio.fail_after(5):
            while server.listener.connections:  # noqa: ASYNC110 - nothing tells of a connection's end
                await trio.sleep(0.02)


async def open_client(server: ApiServer) -> trio.SocketStream:
    """A plain connection."""
    return await trio.open_tcp_stream("127.0.0.1", server.port)


async def read_all(stream: trio.SocketStream) -> bytes:
    """Everything up to the end; a reset is an end."""
    data = b""
    with trio.fail_after(10):
        try:
            while piece := await stream.receive_some():
                data += piece
        except trio.BrokenResourceError:
            pass
    return data


async def test_dribbled_headers_are_cut_off() -> None:
    """Slowloris: a byte now and then keeps no connection open."""
    async with serving() as (server, _), await open_client(server) as stream:
        before = trio.current_time()
        with trio.move_on_after(10):
            try:
                for byte in HEAD * 100:
                    await stream.send_all(bytes([byte]))
                    await trio.sleep(0.05)
            except trio.BrokenResourceError:
                pass
        assert trio.current_time() - before < 5


async def test_many_dribblers_keep_nobody_out() -> None:
    """Each costs a connection for a moment, and no more."""
    async with serving() as (server, _):
        streams = [await open_client(server) for _ in range(40)]
        for stream in streams:
            await stream.send_all(b"GET / HT")
        async with httpx.AsyncClient(base_url=server.url, timeout=5) as client:
            assert (await client.get("/health")).status_code == 200
        for stream in streams:
            assert await read_all(stream) == b""
            await stream.aclose()


async def test_more_connections_than_there_may_be_are_turned_away() -> None:
    """At once; those that are in are served."""
    async with serving(limits=ApiLimits(max_connections=2, idle_limit_s=60)) as (server, _):
        first, second = await open_client(server), await open_client(server)
        for stream in (first, second):
            await stream.send_all(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        async with await open_client(server) as third:
            assert await read_all(third) == b""
        assert server.listener.turned_away == 1
        await first.aclose()
        await second.aclose()


async def test_a_flood_of_headers_is_refused() -> None:
    """431, and the connection is closed."""
    async with serving() as (server, _), await open_client(server) as stream:
        flood = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 100) for number in range(1000))
        with suppress(trio.BrokenResourceError):
            await stream.send_all(HEAD + flood + b"\r\n")
        answer = await read_all(stream)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431")


async def test_a_body_that_says_it_is_a_gibibyte_is_refused_before_it_is_read() -> None:
    """By its head alone."""
    async with serving() as (server, _), await open_client(server) as stream:
        await stream.send_all(HEAD + b"Content-Length: 1073741824\r\n\r\n")
        with trio.fail_after(5):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_gibibyte_that_is_sent_is_refused_and_not_kept(chunked: bool) -> None:
    """Whoever goes on sending is not read any further, and its connection is not left behind."""
    async with serving() as (server, _), await open_client(server) as stream:
        piece = bytes(64 * 1024)
        head = b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: 1073741824\r\n\r\n"
        sent = 0
        with trio.move_on_after(5):
            try:
                await stream.send_all(HEAD + head)
                while True:
                    await stream.send_all(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
                    sent += len(piece)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
        assert sent < 64 * 1024 * 1024


async def test_bodies_have_a_room_in_common_and_leave_it() -> None:
    """Two that are not whole fill it; a third is refused until one of them has gone."""
    limits = evolve(LIMITS, max_bodies_bytes=128 * 1024, body_limit_s=5.0)
    call = b'{"trajectory_id": "t", "tool": {"name": "bash", "arguments": {"command": "echo '
    head = HEAD + b"content-type: application/json\r\ncontent-length: 60000\r\n\r\n"
    body = call + b"x" * (60_000 - len(call) - 4) + b'"}}}'
    async with serving(limits=limits) as (server, _):
        others = [await open_client(server) for _ in range(2)]
        for stream in others:
            await stream.send_all(head + body[:-1])
        refused = b""
        with trio.fail_after(5):
            while b" 503 " not in refused:  # until the server has read what the others have sent
                async with await open_client(server) as stream:
                    await stream.send_all(head + body)
                    refused = await read_answer(stream)
        assert b"retry-after: 1" in refused.lower()
        await others[0].aclose()
        with trio.fail_after(5):
            while b" 503 " in refused:
                async with await open_client(server) as stream:
                    await stream.send_all(head + body)
                    refused = await read_answer(stream)
        assert b" 200 " in refused
        await others[1].send_all(body[-1:])
        assert b" 200 " in await read_answer(others[1])
        await others[1].aclose()


async def read_answer(stream: trio.SocketStream) -> bytes:
    """Head and body, by the length that it tells."""
    data = b""
    with trio.fail_after(10):
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some()
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(body) < length:
            body += await stream.receive_some()
    return head + b"\r\n\r\n" + body


async def test_a_body_that_dribbles_is_cut_off() -> None:
    """408."""
    async with serving() as (server, _), await open_client(server) as stream:
        await stream.send_all(HEAD + b"Content-Length: 1000\r\n\r\n{")
        assert (await read_all(stream)).startswith(b"HTTP/1.1 408")


async def test_a_client_that_reads_nothing_is_dropped() -> None:
    """And its command with it."""
    async with serving() as (server, executor), await open_client(server) as stream:
        command = "head -c 200000000 /dev/zero"
        body = b'{"trajectory_id":"t","tool":{"name":"bash","arguments":{"command":"%s"}}}' % command.encode()
        stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
        head = HEAD + b"Accept: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)
        async with executor.events(kinds=[CallEnded]) as events:
            await stream.send_all(head + body)
            with trio.fail_after(10):
                assert (await anext(events)).event.provenance is Provenance.CANCELLED


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",  # TLS
        b"NONSENSE\r\n\r\n",
        b"POST /execute HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /execute HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"\x00" * 70_000,
    ],
)
async def test_what_is_no_http_is_closed(data: bytes) -> None:
    """With 400 where somebody may read it."""
    async with serving() as (server, _), await open_client(server) as stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(data)
        answer = await read_all(stream)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


async def test_pages_of_other_sites_are_kept_out() -> None:
    """By their Origin; by a name that they made mean this machine, where there is no token."""
    call = {"trajectory_id": "t", "tool": {"name": "bash", "arguments": {"command": "true"}}}
    async with serving() as (server, _), httpx.AsyncClient(base_url=server.url) as client:
        for headers in (
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"host": "evil.example"},
            {"host": "evil.example", "origin": "http://evil.example"},
        ):
            assert (await client.post("/execute", json=call, headers=headers)).status_code == 403
        ours = {"origin": server.url}
        assert (await client.post("/execute", json=call, headers=ours)).status_code == 200
        assert (await client.get("/health", headers={"host": "[::1]:80"})).status_code == 200
    async with serving(token="t0ken") as (server, _), httpx.AsyncClient(base_url=server.url) as client:
        headers = {"host": "runs.example", "authorization": "Bearer t0ken"}
        assert (await client.post("/execute", json=call, headers=headers)).status_code == 200


async def test_a_crash_of_ours_is_one_answer_and_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client learns that it was not its fault, and no more."""
    async with serving() as (server, executor), httpx.AsyncClient(base_url=server.url) as client:
        with monkeypatch.context() as patch:
            patch.setattr(executor, "statistics", lambda: 1 / 0)
            answer = await client.get("/status")
        assert (answer.status_code, answer.json()["detail"]) == (500, "Internal Server Error")


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@pytest.mark.parametrize("flood", [b"", b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08" * 100_000])
async def test_http2_is_not_spoken(flood: bytes) -> None:
    """Its preface is answered 505 and the connection closed, whatever is sent behind it: resets, say."""
    async with serving() as (server, _), await open_client(server) as stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(PREFACE + SETTINGS + flood)
        answer = await read_all(stream)
        assert answer.startswith(b"HTTP/1.1 505") or (flood and answer == b"")


async def test_an_upgrade_to_http2_is_passed_over() -> None:
    """The request is answered as what it is."""
    async with serving() as (server, _), await open_client(server) as stream:
        await stream.send_all(
            b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        )
        with trio.fail_after(5):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
