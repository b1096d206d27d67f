"""The listening side on a real socket, mostly against peers that misbehave byte by byte."""

import base64
import json
import logging
import os
import struct
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from hermes_trio.errors import BrokenLinkError, UnavailableError
from hermes_trio.link import serve
from hermes_trio.link.auth import TokenGate
from hermes_trio.link.serve import HeadFirstStream, serve_websocket_links
from hermes_trio.link.websocket import open_websocket_link

TOKEN = "a-token-of-the-tests"
HANDSHAKE = {
    "Host": "127.0.0.1",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    "Authorization": f"Bearer {TOKEN}",
}


async def echo(link, peer):
    """The handler of most tests."""
    while True:
        await link.send_message(await link.receive_message())


@asynccontextmanager
async def open_server(handler=echo, **options):
    """A server on a free port; the block gets the port."""
    settings = {
        "host": "127.0.0.1",
        "port": 0,
        "check_token": TokenGate([TOKEN]),
        "health": lambda: {"status": "ok"},
        "max_message_bytes": 1_000_000,
        "max_connections": 4,
        "close_timeout": 0.5,
        **options,
    }
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            yield await nursery.start(partial(serve_websocket_links, handler, **settings))
            nursery.cancel_scope.cancel()


async def say(port, data):
    """Send bytes on a fresh connection and hang on until the server hangs up; returns what it said."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(data)
        return await read_all(stream)


async def read_all(stream):
    """Everything until the end, a reset included."""
    said = b""
    try:
        while chunk := await stream.receive_some():
            said += chunk
    except trio.BrokenResourceError:
        said += b"<reset>"
    return said


def request(headers, line="GET / HTTP/1.1"):
    """The bytes of a request."""
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()


def frame(payload=b"", *, opcode=2, fin=True, masked=True, length=None, reserved=0):
    """The bytes of one websocket frame, right or wrong (RFC 6455, 5.2); the mask is four zeros."""
    first = (fin << 7) | (reserved << 4) | opcode
    size = len(payload) if length is None else length
    head = bytes([first, (masked << 7) | (size if size < 126 else 126 if size < 65536 else 127)])
    head += b"" if size < 126 else struct.pack("!H" if size < 65536 else "!Q", size)
    return head + (bytes(4) if masked else b"") + payload


@asynccontextmanager
async def open_raw_websocket(port):
    """A websocket client without any manners: the raw stream behind the handshake."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request(HANDSHAKE))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await stream.receive_some()
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"sec-websocket-extensions" not in answer.lower()
        yield stream


@asynccontextmanager
async def open_client(port, **options):
    """A link to the server under test."""
    settings = {"token": TOKEN, "max_message_bytes": 1_000_000, "connect_timeout": 5, "close_timeout": 0.5}
    async with open_websocket_link(f"ws://127.0.0.1:{port}", **{**settings, **options}) as link:
        yield link


async def check_alive(port):
    """The server still echoes."""
    async with open_client(port) as link:
        await link.send_message(b"alive?")
        assert await link.receive_message() == b"alive?"


async def test_health_is_plain_http_for_everybody():
    """Without any token, as JSON."""
    async with open_server() as port:
        answer = await say(port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: application/json" in head
    assert json.loads(body) == {"status": "ok"}


async def test_a_health_report_that_crashes_is_a_500(caplog):
    """Logged, and the server goes on."""
    async with open_server(health=lambda: 1 / 0) as port:
        assert (await say(port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 500 ")
        await check_alive(port)
    assert "the health report failed" in caplog.text


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request({**HANDSHAKE, "Authorization": "Bearer nope"}), 401),
        (request({**HANDSHAKE, "Authorization": "Bearer " + "x" * 2**20}), 401),
        (request({**HANDSHAKE, "Origin": "http://evil.example"}), 403),
        (request(HANDSHAKE, "GET /nowhere HTTP/1.1"), 404),
        (request(HANDSHAKE, "PUT / HTTP/1.1"), 405),
        (request({"Host": "x"}), 400),
        (b"\x00" * 100 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 2**20, 431),
    ],
)
async def test_refusals_arrive_whole_before_any_upgrade(data, status):
    """Also when the peer has sent far more than is read before the answer."""
    async with open_server() as port:
        answer = await say(port, data)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"<reset>" not in answer
        assert b"nope" not in answer
        await check_alive(port)


async def test_one_link_too_many_is_told_to_come_back():
    """While health still answers; and there is room again once one has gone."""
    async with open_server(max_connections=1) as port:
        async with open_client(port) as link:
            await link.send_message(b"x")
            assert (await say(port, request(HANDSHAKE))).startswith(b"HTTP/1.1 503 ")
            assert (await say(port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        await trio.sleep(0.05)
        await check_alive(port)


async def test_a_crowd_at_the_door_is_bounded(monkeypatch):
    """Peers that say nothing hold no more than their places."""
    monkeypatch.setattr(serve, "MAX_UNPROVEN", 2)
    async with open_server() as port:
        silent = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(2)]
        await trio.sleep(0.05)
        assert (await say(port, b"")).startswith(b"HTTP/1.1 503 ")
        for stream in silent:
            await stream.aclose()
        await trio.sleep(0.05)
        await check_alive(port)


async def test_a_request_that_trickles_is_timed_out(monkeypatch):
    """The limit is for all of it, not for each byte."""
    monkeypatch.setattr(serve, "HANDSHAKE_LIMIT_S", 0.3)

    async def trickle(stream):
        for byte in b"GET / HTTP/1.1\r\nX: " + b"x" * 1000:
            await stream.send_all(bytes([byte]))
            await trio.sleep(0.02)

    async with (
        open_server() as port,
        await trio.open_tcp_stream("127.0.0.1", port) as stream,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(trickle, stream)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 408 ")
        nursery.cancel_scope.cancel()


async def test_a_peer_that_leaves_during_the_handshake_is_nobodys_problem():
    """At once, half-way, or by a reset."""
    async with open_server() as port:
        for said in (b"", b"GET / HT", request(HANDSHAKE)):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(said)
            stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
            await stream.aclose()
        await check_alive(port)


async def test_a_handler_that_crashes_ends_its_own_link_only(caplog):
    """Logged with its traceback; the peer sees an orderly end."""

    async def crash(link, peer):
        if await link.receive_message() == b"crash":
            raise ZeroDivisionError("in the handler")
        await link.send_message(b"fine")

    async with open_server(crash) as port, open_client(port) as bad, open_client(port) as good:
        await bad.send_message(b"crash")
        with pytest.raises(BrokenLinkError):
            await bad.receive_message()
        await good.send_message(b"work")
        assert await good.receive_message() == b"fine"
    assert "ZeroDivisionError: in the handler" in caplog.text


async def test_handlers_learn_who_is_there():
    """And the link's repr says it too."""
    seen = []

    async def note(link, peer):
        await trio.lowlevel.checkpoint()
        seen.append((repr(link), peer))

    async with open_server(note) as port, open_client(port) as link:
        with pytest.raises(BrokenLinkError):
            await link.receive_message()
    ((shown, peer),) = seen
    assert peer.startswith("127.0.0.1:")
    assert shown == f"<WebSocketLink from {peer} open>"


@pytest.mark.parametrize(
    "nonsense",
    [
        frame(b"unmasked", masked=False),
        frame(b"reserved bits", reserved=7),
        frame(b"no such opcode", opcode=5),
        frame(b"continues nothing", opcode=0),
        frame(b"x" * 200, opcode=9),
        frame(b"", opcode=8) * 3,
        frame(b"\x03", opcode=8),
        frame(b"\xff\xff", opcode=8),
        frame(b"\xff\xfe", opcode=1),
        frame(length=2**63 + 5),
        b"\x82\xff" + bytes(8),
        os.urandom(4096),
    ],
)
async def test_broken_frames_end_their_own_link_only(nonsense):
    """Whatever they are, the handler hears of a broken link."""
    heard = []

    async def note(link, peer):
        try:
            await echo(link, peer)
        except BrokenLinkError as error:
            heard.append(str(error))
            raise

    async with open_server(note) as port:
        async with open_raw_websocket(port) as stream:
            await stream.send_all(nonsense)
            await stream.send_eof()
            await read_all(stream)
        await check_alive(port)
    assert len(heard) == 2


async def test_a_frame_of_a_tebibyte_takes_no_memory_and_ends_at_the_limit():
    """Only what really comes counts, and not much of that."""
    async with open_server() as port, open_raw_websocket(port) as stream:
        await stream.send_all(frame(length=2**40))
        await send_what_fits(stream, bytes(3_000_000))
        assert (b"\x03\xf1" + b"Exceeded maximum") in await read_all(stream)  # 1009
        await check_alive(port)


async def send_what_fits(stream, data):
    """Send until the peer has enough."""
    try:
        await stream.send_all(data)
    except trio.BrokenResourceError:
        await trio.lowlevel.checkpoint()


async def test_a_message_in_many_pieces_is_one_message():
    """Empty pieces included, with a ping in between."""
    pieces = [frame(b"ab", fin=False), *[frame(b"", opcode=0, fin=False)] * 1000, frame(opcode=9)]
    pieces += [frame(b"cd", opcode=0, fin=False)] * 1000 + [frame(b"ef", opcode=0)]
    async with open_server() as port, open_raw_websocket(port) as stream:
        await stream.send_all(b"".join(pieces))
        answer = bytearray()
        while len(answer) < 2 + 4 + 2004:
            answer += await stream.receive_some()
        assert answer == b"\x8a\x00" + b"\x82\x7e" + struct.pack("!H", 2004) + b"ab" + b"cd" * 1000 + b"ef"


async def test_a_message_over_the_limit_is_told_1009_although_more_is_under_way():
    """The reset for unread bytes must not overtake the close frame."""
    async with open_server() as port, open_raw_websocket(port) as stream:
        await stream.send_all(frame(bytes(8_000_000)))
        await stream.send_eof()
        answer = await read_all(stream)
        assert b"\x03\xf1" in answer
        assert b"<reset>" not in answer


async def test_a_text_message_is_told_1003():
    """This protocol is binary."""
    async with open_server() as port, open_raw_websocket(port) as stream:
        await stream.send_all(frame(b"hello", opcode=1))
        assert await stream.receive_some() == b"\x88\x02\x03\xeb"


async def test_pings_are_answered_and_a_flood_of_them_harms_nobody():
    """Proxies use them; we do not."""
    async with open_server() as port, open_raw_websocket(port) as stream:
        await stream.send_all(frame(b"proxy", opcode=9))
        assert await stream.receive_some() == b"\x8a\x05proxy"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_what_fits, stream, frame(opcode=9) * 20_000)
            await check_alive(port)
            nursery.cancel_scope.cancel()


async def test_a_ping_behind_our_close_frame_crashes_nothing(caplog):
    """The library's reader does not survive it; the server must."""
    caplog.set_level(logging.DEBUG, logger="hermes_trio")

    async def leave(link, peer):
        await trio.lowlevel.checkpoint()

    async with open_server(leave) as port:
        async with open_raw_websocket(port) as stream:
            assert (await stream.receive_some()).startswith(b"\x88")
            await stream.send_all(frame(b"late", opcode=9))
            await read_all(stream)
        assert (await say(port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_stopping_the_server_closes_links_within_the_bound():
    """Also the link of a peer that takes nothing and says nothing."""

    async def flood(link, peer):
        while True:
            await link.send_message(bytes(1_000_000))

    async with open_server(flood) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(request(HANDSHAKE))
        await trio.sleep(0.3)
        began = trio.current_time()
    assert trio.current_time() - began < 1.5
    await stream.aclose()


async def test_a_port_in_use_is_one_clear_error():
    """With what to do about it."""
    async with open_server() as port:
        with pytest.raises(UnavailableError, match=f"Cannot listen on 127.0.0.1:{port}: .*Choose another"):
            await serve_websocket_links(
                echo,
                host="127.0.0.1",
                port=port,
                check_token=bool,
                health=dict,
                max_message_bytes=1,
                max_connections=1,
            )


async def test_a_name_with_several_addresses_gets_one_port():
    """``localhost`` may mean IPv6 and IPv4, and with port 0 each would get another port."""
    async with open_server(host="localhost") as port:
        stream = await trio.open_tcp_stream("localhost", port)
        await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read_all(stream)).startswith(b"HTTP/1.1 200 ")
        await stream.aclose()


@pytest.mark.slow
async def test_running_out_of_file_descriptors_is_survived():
    """Accepting pauses and goes on."""
    program = """
import resource, trio
from functools import partial
from hermes_trio.link.serve import serve_websocket_links
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
async def main():
    async with trio.open_nursery() as nursery:
        serve = partial(serve_websocket_links, None, host="127.0.0.1", port=0, check_token=bool, health=dict,
                        max_message_bytes=1, max_connections=1)
        print(await nursery.start(serve), flush=True)
trio.run(main)
"""
    server = await trio.lowlevel.open_process(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        port = int(await server.stdout.receive_some())
        crowd = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(40)]
        await trio.sleep(0.3)
        for stream in crowd:
            await stream.aclose()
        with trio.fail_after(5):
            answer = await say(port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"EMFILE" in await server.stderr.receive_some()
    finally:
        server.kill()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            await server.wait()
        server.stdout.close()
        server.stderr.close()


async def test_the_detour_for_the_head_leaves_the_hot_path():
    """After the first bytes the calls are the stream's own, not wrapped."""
    left, right = trio.socket.socketpair()
    stream, peer = trio.SocketStream(left), trio.SocketStream(right)
    async with stream, peer:
        detour = HeadFirstStream(b"head", stream)
        await peer.send_all(b"tail")
        assert await detour.receive_some(100) == b"head"
        assert await detour.receive_some(100) == b"tail"
        await detour.wait_send_all_might_not_block()
        assert detour.receive_some == stream.receive_some
        assert detour.send_all == stream.send_all
        await detour.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
