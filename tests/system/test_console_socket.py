"""The console's page and websocket over a real server and real sockets; the daemon is the double."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import httpx
import pytest
import trio
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from hermes_trio.console import client as client_module
from hermes_trio.console import socket as socket_module
from hermes_trio.console.client import ConsoleClient, open_console_client, socket_url
from hermes_trio.console.hub import ConsoleHub, open_console_hub
from hermes_trio.console.mirror import Mirror, named_snapshot
from hermes_trio.console.routes import console_routes
from hermes_trio.errors import BrokenLinkError, InvalidInputError, NobodyThereError, RefusedError
from hermes_trio.executor.executor import open_executor
from hermes_trio.link.asgi import serve_asgi
from hermes_trio.link.auth import TokenGate
from hermes_trio.link.background import open_background_nursery
from hermes_trio.link.url import parse_link_url
from hermes_trio.telemetry.events import CallQueued, Stamped
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.calls import ToolCall

TOKEN = "open-sesame"


@asynccontextmanager
async def _console(*, token: str | None = TOKEN) -> AsyncIterator[tuple[str, ConsoleHub]]:
    gate = None if token is None else TokenGate([token])
    backend = MemoryBackend({"d": FakeDaemon(slots=4)})
    async with (
        open_executor(backend) as executor,
        open_console_hub(executor, name="test") as hub,
        open_background_nursery() as nursery,
    ):
        app = Starlette(routes=console_routes(hub, gate=gate))
        yield await nursery.start(partial(serve_asgi, app)), hub


async def test_the_page_may_load_nothing_but_itself() -> None:
    """A strict policy, a nonce of its own for each load, and its parts with their types."""
    async with _console() as (url, _), httpx.AsyncClient() as client:
        first, second = [await client.get(f"{url}/console") for _ in range(2)]
        policy = first.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert policy != second.headers["content-security-policy"]
        nonce = policy.partition("'nonce-")[2].partition("'")[0]
        assert f'content="{nonce}"' in first.text
        assert "{{" not in first.text
        script = await client.get(f"{url}/console/console.js")
        assert script.headers["content-type"].startswith("text/javascript")
        for name in ("index.html", "nothing.js", "..%2fhub.py", "%2e%2e"):
            assert (await client.get(f"{url}/console/{name}")).status_code == 404


async def test_a_watcher_follows_the_state() -> None:
    """From the first message on, and by commands."""
    async with _console() as (url, hub), open_console_client(url, token=TOKEN) as client:
        assert client.welcome["name"] == "test"
        await client.subscribe(["trajectories", "slots"])
        result = await hub.executor.execute("t", ToolCall(name="bash", arguments={"command": "echo hi"}))
        assert result.success
        mirror = Mirror()
        with trio.fail_after(10):
            while not ("t" in mirror.trajectories and mirror.slots):
                mirror.apply(await client.receive_tick())
        snapshot = named_snapshot(await client.command("snapshot"))
        assert snapshot["trajectories"][0]["id"] == "t"
        with pytest.raises(InvalidInputError, match="there is no daemon x"):
            await client.command("drain", daemon="x")


@pytest.mark.parametrize("token", ["wrong", None, "", "open-sesam", "open-sesame2", "ünicode"])
async def test_who_has_not_the_token_is_refused(token: str | None) -> None:
    """And sees nothing of the state."""
    async with _console() as (url, hub):
        with pytest.raises(RefusedError, match="oken"):
            async with open_console_client(url, token=token):
                pass
        assert hub.watchers == 0


async def test_without_a_token_only_own_names_are_served() -> None:
    """A page whose name was resolved to this machine is of its own origin: its name gives it away."""
    async with _console(token=None) as (url, _):
        async with open_console_client(url, token=None) as client:
            assert await client.command("recordings") == []
        assert await _is_rejected(url, host="rebound.example")


@asynccontextmanager
async def _plain(
    url: str, *, origin: bytes | None = None, host: str | None = None
) -> AsyncIterator[WebSocketConnection]:
    """A websocket whose stream is ours to close."""
    address = parse_link_url(socket_url(url))
    headers = [] if origin is None else [(b"Origin", origin)]
    async with (
        await trio.open_tcp_stream(address.host, address.port) as stream,
        open_background_nursery() as nursery,
    ):
        yield await wrap_client_stream(
            nursery, stream, host or address.authority, address.resource, extra_headers=headers
        )


async def _enter(url: str, *, origin: bytes | None = None, host: str | None = None) -> None:
    async with _plain(url, origin=origin, host=host) as socket:
        await _say(socket, '{"t":"hello","token":"open-sesame"}')


async def _is_rejected(url: str, *, origin: bytes | None = None, host: str | None = None) -> bool:
    rejections = list[Exception]()
    try:
        await _enter(url, origin=origin, host=host)
    except* ConnectionRejected as group:
        rejections.append(group)
    return bool(rejections)


async def _say(socket: WebSocketConnection, message: str | None) -> None:
    if message is not None:
        await socket.send_message(message)
    with trio.fail_after(10):
        await socket.get_message()


async def _read_on(client: ConsoleClient) -> None:
    while True:
        await client.receive_tick()


async def test_another_pages_handshake_is_refused() -> None:
    """By its origin, token or not."""
    async with _console() as (url, _):
        await _enter(url, origin=url.encode())
        for origin in (b"http://evil.example", b"null", url.replace("http://", "https://x.").encode()):
            assert await _is_rejected(url, origin=origin)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", 1007),
        ("[]", 1007),
        ("[" * 20_000, 1007),
        ('{"t":"hello"', 1007),
        ('{"t":"subscribe"}', 4401),
        ('{"t":"hello","token":["open-sesame"]}', 4401),
        ("x" * 70_000, 1009),
    ],
)
async def test_a_strange_first_message_ends_the_connection(message: str, code: int) -> None:
    """With the code that says why."""
    async with _console() as (url, _):
        async with _plain(url) as socket:
            with pytest.raises(ConnectionClosed) as caught:
                await _say(socket, message)
        assert caught.value.reason is not None
        assert caught.value.reason.code == code


async def test_who_says_nothing_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that nobody has shown a token for costs something."""
    monkeypatch.setattr(socket_module, "HELLO_LIMIT_S", 0.2)
    async with _console() as (url, _), _plain(url) as socket:
        with pytest.raises(ConnectionClosed):
            await _say(socket, None)


async def test_no_more_watchers_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one too many is told; when another leaves there is room again."""
    monkeypatch.setattr(socket_module, "MAX_WATCHERS", 1)
    async with _console() as (url, hub):
        async with open_console_client(url, token=TOKEN):
            with pytest.raises(BrokenLinkError, match="open already"):
                async with open_console_client(url, token=TOKEN):
                    pass
        with trio.fail_after(10):
            while hub.watchers:  # noqa: ASYNC110 - of the hub there is no event
                await trio.sleep(0.01)
        async with open_console_client(url, token=TOKEN):
            pass


async def test_a_strange_message_later_ends_the_connection() -> None:
    """A page of ours sends none."""
    async with _console() as (url, _), open_console_client(url, token=TOKEN) as client:
        await client.send({"t": "strange"})
        with pytest.raises(BrokenLinkError, match="a message is"), trio.fail_after(10):
            await _read_on(client)


async def test_a_watcher_is_sent_no_more_than_its_share_of_bytes() -> None:
    """Although a thousand rows change all the time: that is more than twice its share."""
    async with _console() as (url, hub), open_console_client(url, token=TOKEN) as client:
        await client.subscribe(["trajectories"])
        began, received, late = trio.current_time(), 0, 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_churn, hub)
            while trio.current_time() - began < 3:
                tick = await client.receive_tick()
                received += len(str(tick).encode())
                late = max(late, tick.get("late", 0))
            nursery.cancel_scope.cancel()
        assert late > 0
        assert received / 3 < 1.2 * socket_module.BYTES_PER_S + socket_module.BURST_BYTES


async def _churn(hub: ConsoleHub) -> None:
    while True:
        for number in range(1000):
            event = CallQueued(
                call=number,
                trajectory=f"trajectory-{number}",
                tool="bash",
                uniq_id="u",
                limit_s=30.0,
                slot_bound=True,
                summary="python3 -m pytest -x tests/unit/test_something_long.py",
            )
            hub.state.apply(Stamped(number, trio.current_time(), event))
        await trio.sleep(0.1)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('{"t":"tick"}', "is no console of hermes-trio"),
        ("[]", "does not speak as a console"),
        ("nonsense", "does not speak as a console"),
        (b"\x00bytes", "is no console of hermes-trio"),
        (None, "does not welcome us"),
    ],
)
async def test_who_is_no_console_is_said_so(
    said: str | bytes | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's websocket at the same address, one that says nothing too."""
    monkeypatch.setattr(client_module, "CONNECT_LIMIT_S", 1.0 if said is None else 10.0)

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()
        if isinstance(said, str):
            await websocket.send_text(said)
        elif said is not None:
            await websocket.send_bytes(said)
        await websocket.receive()

    async with open_background_nursery() as nursery:
        app = Starlette(routes=[WebSocketRoute("/console/ws", talk)])
        url = await nursery.start(partial(serve_asgi, app))
        with pytest.raises((RefusedError, BrokenLinkError), match=told):
            async with open_console_client(url, token=None):
                pass


async def test_a_server_that_falls_silent_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has welcomed us, and then says nothing: neither an answer nor what changes."""
    monkeypatch.setattr(client_module, "SILENCE_LIMIT_S", 0.3)

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text('{"t":"welcome"}')
        with suppress(WebSocketDisconnect):
            while True:
                await websocket.receive_text()

    async with open_background_nursery() as nursery:
        app = Starlette(routes=[WebSocketRoute("/console/ws", talk)])
        url = await nursery.start(partial(serve_asgi, app))
        with pytest.raises(BrokenLinkError, match="has not answered to snapshot"):
            async with open_console_client(url, token=None) as client:
                await client.command("snapshot")
        with pytest.raises(BrokenLinkError, match="says nothing any more"):
            async with open_console_client(url, token=None) as client:
                await client.receive_tick()


async def test_who_is_not_there_is_said_so() -> None:
    """In a sentence with what mends it."""
    with pytest.raises(NobodyThereError, match="hermes-trio serve"):
        async with open_console_client("http://127.0.0.1:1", token=None):
            pass
    for url in ("127.0.0.1:9001", "ftp://x", "http://", "http://u:p@x", "http://x:y"):
        with pytest.raises(InvalidInputError):
            socket_url(url)
    assert socket_url("https://x/console/") == "wss://x/console/ws"
