"""The console's websocket from a program: what the terminal console and the shell's verbs are made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import trio
from attrs import define, field
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_client_stream

from hermes_trio.errors import (
    BrokenLinkError,
    InvalidInputError,
    NobodyThereError,
    RefusedError,
    UnavailableError,
)
from hermes_trio.link.background import open_background_nursery
from hermes_trio.link.url import LinkAddress, parse_link_url

DEFAULT_URL: Final = "http://127.0.0.1:9001"
CONNECT_LIMIT_S: Final = 10.0
SILENCE_LIMIT_S: Final = 60.0
"""A server that lives says something several times a second; a cancel may take half a minute."""
MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
_REFUSED: Final = 4401
_CLOSED: Final = {1000: "it was closed", 1001: "the server stops", 1006: "the server went away"}


def socket_url(url: str) -> str:
    """The console's websocket of a server.

    Args:
        url: the server's, ``http://host:port``.

    Raises:
        InvalidInputError: it is none.
    """
    refusal = InvalidInputError(
        "the URL of a server begins with http:// or https:// and names a host", field="URL"
    )
    try:
        parts = urlsplit(url)
        usable = parts.hostname and parts.username is None and parts.port != 0
    except ValueError:
        raise refusal from None
    if not usable or parts.scheme not in ("http", "https"):
        raise refusal
    scheme = "wss" if parts.scheme == "https" else "ws"
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/console')}/console/ws"


@define(eq=False)
class ConsoleClient:
    """One connection. Made by :func:`open_console_client`; its methods are for one task at a time."""

    welcome: dict[str, Any]
    _socket: WebSocketConnection
    bytes_received: int = field(default=0, init=False)
    _commands: int = field(default=0, init=False)

    async def subscribe(self, sections: Sequence[str], *, trajectory: str | None = None) -> None:
        """Look at these sections from now on. Cancellation: poisons."""
        await self.send({"t": "subscribe", "sections": list(sections), "trajectory": trajectory})

    async def receive_tick(self) -> dict[str, Any]:
        """The next message about the state.

        Cancellation: atomic.

        Raises:
            BrokenLinkError: the connection is over.
        """
        with _bounded(SILENCE_LIMIT_S, "the server says nothing any more"):
            while True:
                message = await self.receive()
                if isinstance(message, dict) and message.get("t") == "tick":
                    break
        return message

    async def command(self, name: str, **arguments: Any) -> Any:
        """Ask for something to be done, and wait for the answer.

        Cancellation: abandons.

        Raises:
            InvalidInputError: it cannot be done as it was asked for; the server says why.
            UnavailableError: it cannot be done now, likewise.
            BrokenLinkError: the connection is over, or the server does not answer.
        """
        self._commands += 1
        await self.send({"t": "command", "id": self._commands, "name": name, "args": arguments})
        with _bounded(SILENCE_LIMIT_S, f"the server has not answered to {name}"):
            while True:
                message = await self.receive()
                if isinstance(message, dict) and _is_answer(message, self._commands):
                    break
        if not message.get("ok"):
            kind = InvalidInputError if message.get("is_input") else UnavailableError
            raise kind(str(message.get("error")))
        return message.get("value")

    async def send(self, message: dict[str, Any] | bytes) -> None:
        """Say something. Cancellation: poisons."""
        try:
            await self._socket.send_message(
                message if isinstance(message, bytes) else orjson.dumps(message).decode()
            )
        except ConnectionClosed as error:
            raise _ended(error) from error

    async def receive(self) -> dict[str, Any] | bytes:
        """The next message; bytes are a terminal's, behind the byte of its channel.

        Cancellation: atomic.

        Raises:
            BrokenLinkError: the connection is over.
        """
        try:
            message = await self._socket.get_message()
        except ConnectionClosed as error:
            raise _ended(error) from error
        self.bytes_received += len(message)
        if isinstance(message, bytes):
            return message
        try:
            parsed = orjson.loads(message)
        except orjson.JSONDecodeError:
            parsed = None
        if not isinstance(parsed, dict):
            raise BrokenLinkError("what answers there does not speak as a console does")
        return parsed


@asynccontextmanager
async def open_console_client(url: str, *, token: str | None) -> AsyncIterator[ConsoleClient]:
    """Connect to the console of a server.

    Cancellation: poisons; the connection is closed on every way out.

    Args:
        url: the server's.
        token: what it asks for; ``None``: nothing.

    Raises:
        InvalidInputError: the URL is none.
        NobodyThereError: nothing listens there.
        RefusedError: the token is refused, or this is no console.
    """
    address = parse_link_url(socket_url(url))
    with _rejection_told(url):
        async with _connected(address, url, token) as client:
            yield client


@contextmanager
def _rejection_told(url: str) -> Iterator[None]:
    """Who answers, but not as a console does, is met by the websocket's reader: it comes out in a group."""
    rejections: list[Exception] = []
    try:
        yield
    except* HandshakeError as group:
        rejections += group.exceptions
    if rejections:
        raise RefusedError(f"{url} is no console of hermes-trio, or does not want us.") from rejections[0]


@asynccontextmanager
async def _connected(address: LinkAddress, url: str, token: str | None) -> AsyncIterator[ConsoleClient]:
    async with await _stream(address, url) as stream, open_background_nursery() as nursery:
        try:
            with trio.fail_after(CONNECT_LIMIT_S):
                socket = await wrap_client_stream(
                    nursery, stream, address.authority, address.resource, max_message_size=MAX_MESSAGE_BYTES
                )
        except trio.TooSlowError as error:
            raise RefusedError(f"{url} does not answer as a console of hermes-trio would.") from error
        client = ConsoleClient({}, socket)
        await client.send({"t": "hello", "version": 1, "token": token})
        with _bounded(CONNECT_LIMIT_S, f"{url} does not welcome us as a console of hermes-trio would"):
            message = await client.receive()
        if not isinstance(message, dict) or message.get("t") != "welcome":
            raise RefusedError(f"{url} is no console of hermes-trio.")
        client.welcome.update(message)
        yield client


async def _stream(address: LinkAddress, url: str) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    try:
        with trio.fail_after(CONNECT_LIMIT_S):
            if address.secure:
                return await trio.open_ssl_over_tcp_stream(address.host, address.port)
            return await trio.open_tcp_stream(address.host, address.port)
    except (OSError, trio.TooSlowError) as error:
        raise NobodyThereError(
            f"Nobody answers at {url}.", mend="Start a server there with: hermes-trio serve"
        ) from error


@contextmanager
def _bounded(limit_s: float, otherwise: str) -> Iterator[None]:
    try:
        with trio.fail_after(limit_s):
            yield
    except trio.TooSlowError as error:
        raise BrokenLinkError(f"{otherwise}, for {limit_s:g} s") from error


def _is_answer(message: dict[str, Any], number: int) -> bool:
    return message.get("t") == "answer" and message.get("id") == number


def _ended(error: ConnectionClosed) -> RefusedError | BrokenLinkError:
    reason = error.reason
    code = reason.code if reason is not None else 1006
    text = (reason.reason if reason is not None else None) or _CLOSED.get(code, f"closed ({code})")
    if code == _REFUSED:
        return RefusedError(text, mend="Give the server's token with --token-file.")
    return BrokenLinkError(f"the connection to the server is over: {text}")
