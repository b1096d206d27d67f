"""The client's side on a real socket: what it says of servers that are not there, not ours, or not well."""

import base64
import hashlib
import logging
import os
import shutil
import ssl
import subprocess
import tracemalloc
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from hermes_trio.errors import BrokenLinkError, BusyError, InvalidInputError, TooSlowError, UnavailableError
from hermes_trio.link.auth import TokenGate
from hermes_trio.link.serve import serve_websocket_links
from hermes_trio.link.websocket import open_websocket_link
from hermes_trio.testing.checkpoints import cancel_at_every_checkpoint

TOKEN = "hunter2-which-must-not-show"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@asynccontextmanager
async def open_raw_server(behave):
    """A TCP server that runs ``behave(stream)`` for each connection; the block gets the port."""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            await nursery.start(trio.serve_listeners, behave, [listener])
            yield listener.socket.getsockname()[1]
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_echo_server(**options):
    """The real server; the block gets the port."""

    async def echo(link, peer):
        while True:
            await link.send_message(await link.receive_message())

    settings = {
        "host": "127.0.0.1",
        "port": 0,
        "check_token": TokenGate([TOKEN]),
        "health": dict,
        "max_message_bytes": 1_000_000,
        "max_connections": 4,
        "close_timeout": 0.5,
        **options,
    }
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            yield await nursery.start(partial(serve_websocket_links, echo, **settings))
            nursery.cancel_scope.cancel()


async def connect(url, **options):
    """Open a link and close it again."""
    async with open_client(url, **options) as link:
        return repr(link)


@asynccontextmanager
async def open_client(url, **options):
    """A link with the settings of these tests."""
    settings = {"token": TOKEN, "max_message_bytes": 1_000_000, "connect_timeout": 5, "close_timeout": 0.5}
    async with open_websocket_link(url, **{**settings, **options}) as link:
        yield link


async def read_head(stream):
    """A request, up to its empty line."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += await stream.receive_some()
    return head


async def accept_upgrade(stream):
    """The server's handshake, and nothing after it."""
    head = await read_head(stream)
    (key,) = [line[19:] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: ")]
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    await stream.send_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def answering(data):
    """A server that hears a request and says this."""

    async def behave(stream):
        await read_head(stream)
        await stream.send_all(data)

    return behave


async def hang_up(stream):
    """A server that does not even listen."""
    await stream.aclose()


async def say_nothing(stream):
    """A server that accepts, and that is all."""
    await trio.sleep_forever()


async def test_a_link_carries_messages_and_shows_its_address_only():
    """The token is not in the repr."""
    async with open_echo_server() as port:
        async with open_client(f"ws://127.0.0.1:{port}/?secret=x") as link:
            await link.send_message(b"hello")
            assert await link.receive_message() == b"hello"
            assert repr(link) == f"<WebSocketLink ws://127.0.0.1:{port} open>"
        assert repr(link) == f"<WebSocketLink ws://127.0.0.1:{port} closed>"


async def test_the_request_offers_no_compression_and_carries_the_token():
    """As a bearer token, and only when there is one."""
    heads = []

    async def note(stream):
        heads.append((await read_head(stream)).lower())

    async with open_raw_server(note) as port:
        for token in (TOKEN, None):
            with pytest.raises(UnavailableError):
                await connect(f"ws://127.0.0.1:{port}", token=token)
    assert f"authorization: bearer {TOKEN}".encode() in heads[0]
    assert b"authorization" not in heads[1]
    assert not any(b"sec-websocket-extensions" in head for head in heads)


@pytest.mark.parametrize(
    ("behave", "error", "says"),
    [
        (
            answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
            UnavailableError,
            "it answers HTTP 200",
        ),
        (answering(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), UnavailableError, "answers HTTP 302"),
        (answering(b"HTTP/1.1 101 Sure\r\n\r\n"), UnavailableError, "does not speak websocket"),
        (answering(b"SSH-2.0-OpenSSH_9.2\r\n"), UnavailableError, "not a sandbox daemon: it (does|hung)"),
        (answering(b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n"), BusyError, "has no room"),
        (hang_up, UnavailableError, "is not a sandbox daemon: it hung up"),
        (say_nothing, TooSlowError, "did not open a link within 0.3 s"),
    ],
)
async def test_whoever_is_no_daemon_is_named_for_what_it_does(behave, error, says):
    """Each in one sentence, with the address."""
    async with open_raw_server(behave) as port:
        with pytest.raises(error, match=says) as caught:
            await connect(f"ws://127.0.0.1:{port}", connect_timeout=0.3)
        assert f"127.0.0.1:{port}" in str(caught.value)
        assert TOKEN not in str(caught.value)


async def test_a_port_where_nothing_listens_says_so():
    """With what to do."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(
        UnavailableError, match=f"No sandbox daemon at ws://127.0.0.1:{port}: nothing listens"
    ):
        await connect(f"ws://127.0.0.1:{port}")


async def test_other_troubles_of_the_network_keep_their_reason():
    """The system's own words."""
    with pytest.raises(UnavailableError, match="it cannot be reached"):
        await connect("ws://255.255.255.255:9", connect_timeout=2)


async def test_a_host_that_does_not_exist_says_so():
    """Without asking any resolver here."""

    class Nobody(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
            await trio.lowlevel.checkpoint()
            raise trio.socket.gaierror(-2, "Name or service not known")

        async def getnameinfo(self, sockaddr, flags):
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Nobody())
    with pytest.raises(UnavailableError, match="No sandbox daemon at ws://nowhere:1: there is no such host"):
        await connect("ws://nowhere:1")


async def test_a_wrong_token_and_a_missing_one_are_told_apart_and_never_shown(caplog):
    """Not in the error, its causes, or any log at any level."""
    caplog.set_level(logging.DEBUG)
    async with open_echo_server(check_token=TokenGate(["another"])) as port:
        with pytest.raises(UnavailableError, match=r"says that the token is wrong\. Use the token") as caught:
            await connect(f"ws://127.0.0.1:{port}")
        with pytest.raises(UnavailableError, match="wants a token"):
            await connect(f"ws://127.0.0.1:{port}", token=None)
    async with open_echo_server() as port:
        await connect(f"ws://127.0.0.1:{port}")
    told = caplog.text + "".join(f"{error!r}" for error in chain_of(caught.value))
    assert TOKEN not in told
    assert caplog.records


def chain_of(error):
    """An exception and everything a traceback would show above it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("token", ["", "two words", "new\nline", "ümlaut"])
async def test_a_token_no_header_can_carry_is_refused_here(token):
    """Before anybody is called."""
    with pytest.raises(InvalidInputError, match="token"):
        await connect("ws://127.0.0.1:1", token=token)


async def test_a_cancelled_big_send_leaves_a_torn_frame_and_then_the_end():
    """What is on the wire is the beginning of one frame; nothing follows it, so nobody can misread it."""
    wire = bytearray()
    torn, over = trio.Event(), trio.Event()

    async def collect(stream):
        await accept_upgrade(stream)
        wire.extend(await stream.receive_some(100_000))
        sending.cancel()  # now it is certain that the frame has begun
        await torn.wait()
        while chunk := await stream.receive_some(100_000):
            wire.extend(chunk)
        over.set()

    async with open_raw_server(collect) as port:
        async with open_client(f"ws://127.0.0.1:{port}", max_message_bytes=32_000_000) as link:
            with trio.CancelScope() as sending:
                await link.send_message(bytes(20_000_000))
            assert repr(link).endswith(" torn>")
            for operation in (link.receive_message, lambda: link.send_message(b"x")):
                with pytest.raises(BrokenLinkError, match="a send was cut short"):
                    await operation()
            began = trio.current_time()
        assert trio.current_time() - began < 0.1  # there is nobody to say goodbye to
        torn.set()
        await over.wait()
    assert wire[:2] == b"\x82\xff"
    assert len(wire) < 20_000_000


async def test_closing_is_bounded_when_the_peer_is_hung():
    """Its kernel takes bytes until its buffers are full; then nobody takes anything."""

    async def accept_and_hang(stream):
        await accept_upgrade(stream)
        await trio.sleep_forever()

    async def flood(link):
        while True:
            await link.send_message(bytes(1_000_000))

    async def flood_until_closed(link):
        with pytest.raises(Exception, match="was closed on this side"):
            await flood(link)

    async with open_raw_server(accept_and_hang) as port:
        async with open_client(f"ws://127.0.0.1:{port}") as link, trio.open_nursery() as nursery:
            nursery.start_soon(flood_until_closed, link)
            await trio.sleep(0.3)
            began = trio.current_time()
            await link.aclose()
        assert trio.current_time() - began < 1.0


async def test_a_reset_is_a_broken_link_on_both_operations():
    """However the transport puts it."""

    async def accept_and_reset(stream):
        await accept_upgrade(stream)
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        await stream.aclose()

    async with open_raw_server(accept_and_reset) as port, open_client(f"ws://127.0.0.1:{port}") as link:
        with pytest.raises(BrokenLinkError, match="1006"):
            await link.receive_message()
        with pytest.raises(BrokenLinkError, match="1006"):
            await link.send_message(b"x")


async def test_a_server_that_breaks_the_protocol_is_a_broken_link():
    """A masked frame from a server is against RFC 6455, 5.1."""

    async def mask(stream):
        await accept_upgrade(stream)
        await stream.send_all(b"\x82\x81\0\0\0\0x")
        await trio.sleep_forever()

    async with open_raw_server(mask) as port, open_client(f"ws://127.0.0.1:{port}") as link:
        with pytest.raises(BrokenLinkError, match="1002"):
            await link.receive_message()


async def test_text_is_refused_and_stays_refused():
    """The link does not go on as if nothing had been."""

    async def talk(stream):
        await accept_upgrade(stream)
        await stream.send_all(b"\x81\x02hi" + b"\x82\x02ok")
        await trio.sleep_forever()

    async with open_raw_server(talk) as port, open_client(f"ws://127.0.0.1:{port}") as link:
        for _ in range(2):
            with pytest.raises(BrokenLinkError, match="this protocol is binary"):
                await link.receive_message()


async def test_the_blocks_error_leaves_as_it_was_raised():
    """Through the background reader, in no group."""
    async with open_echo_server() as port:
        with pytest.raises(KeyError, match="mine"):
            await raise_inside(f"ws://127.0.0.1:{port}")


async def raise_inside(url):
    """A block that fails for reasons of its own."""
    async with open_client(url):
        raise KeyError("mine")


def open_descriptors():
    """How many files and sockets this process has open."""
    return len(os.listdir("/proc/self/fd"))


async def test_a_cancelled_block_still_says_goodbye():
    """The reader that has to hear the answer is not cancelled with the block: no time-out is waited for."""
    async with open_echo_server() as port:
        with trio.CancelScope() as scope:
            async with open_client(f"ws://127.0.0.1:{port}", close_timeout=5) as link:
                await link.send_message(b"x")
                began = trio.current_time()
                scope.cancel()
                await link.receive_message()
        assert trio.current_time() - began < 1.0


@pytest.mark.slow
async def test_cancelling_anywhere_leaves_no_socket_open():
    """At every checkpoint of connecting, sending, receiving and closing; the server is well after each."""

    async def use():
        async with open_client(f"ws://127.0.0.1:{port}", close_timeout=0.2) as link:
            await link.send_message(b"x" * 1000)
            await link.receive_message()

    async def check():
        for _ in range(200):  # the server's ends close as soon as it has noticed
            if open_descriptors() <= before:
                return
            await trio.sleep(0.01)
        assert open_descriptors() <= before

    async with open_echo_server() as port:
        await use()
        await trio.sleep(0.05)
        before = open_descriptors()
        report = await cancel_at_every_checkpoint(use, check=check)
        assert report.cancelled > 10


# --- TLS --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that nobody trusts, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    directory = tmp_path_factory.mktemp("tls")
    key, cert = directory / "key.pem", directory / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@pytest.fixture
def server_context(certificate):
    """For a server with that certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


async def test_tls_carries_messages_to_those_who_trust(server_context, certificate):
    """Also large ones, and also to the health route."""
    trusting = ssl.create_default_context(cafile=certificate[0])
    async with open_echo_server(ssl_context=server_context) as port:
        async with open_client(f"wss://127.0.0.1:{port}", ssl_context=trusting) as link:
            for message in (b"hello", bytes(1_000_000)):
                await link.send_message(message)
                assert await link.receive_message() == message
        async with await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=trusting) as stream:
            await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_small_messages_take_little_memory_on_both_sides(scheme, server_context, certificate):
    """Blocks as large as the receive buffer, for each message, would pull the heap apart."""
    trusting = ssl.create_default_context(cafile=certificate[0])
    ours, theirs = (trusting, server_context) if scheme == "wss" else (None, None)
    async with (
        open_echo_server(ssl_context=theirs) as port,
        open_client(f"{scheme}://127.0.0.1:{port}", ssl_context=ours) as link,
    ):
        await link.send_message(b"warm")
        await link.receive_message()
        tracemalloc.start()
        try:
            for _ in range(10):
                await link.send_message(b"small")
                await link.receive_message()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 128 * 1024


async def test_a_certificate_nobody_trusts_is_refused(server_context):
    """By default, with the reason."""
    async with open_echo_server(ssl_context=server_context) as port:
        with pytest.raises(
            UnavailableError, match=r"The certificate of wss://.* is not trusted: self-signed"
        ):
            await connect(f"wss://127.0.0.1:{port}")


async def test_tls_and_plain_do_not_mix_and_say_so(server_context):
    """In both directions."""
    async with open_echo_server() as port:
        with pytest.raises(UnavailableError, match="it does not speak TLS"):
            await connect(f"wss://127.0.0.1:{port}")
    async with open_echo_server(ssl_context=server_context) as port:
        with pytest.raises(UnavailableError, match="is not a sandbox daemon"):
            await connect(f"ws://127.0.0.1:{port}")


async def test_a_tls_handshake_that_hangs_is_bounded():
    """And its socket is closed."""
    before = open_descriptors()
    async with open_raw_server(say_nothing) as port:
        with pytest.raises(TooSlowError):
            await connect(f"wss://127.0.0.1:{port}", connect_timeout=0.2)
    assert open_descriptors() <= before
