"""The message link over a websocket (RFC 6455), through trio-websocket.

What that library (0.12.2) leaves to us, and how it is met:

* its reader task can crash (a ping that arrives while closing, a header that is not ASCII): it is given
  :class:`_Reader` for a nursery, which turns a crash into a broken link instead of a broken program;
* after a protocol error, an oversized message or a close that the peer began it may leave the socket open:
  the stream stays ours, and ``_drop`` closes it in every case;
* a cancelled send leaves half a frame on the wire and says nothing: ``RuledLink`` drops the socket at once;
* it keeps every fragment of a message as an object of its own: ``fragments.py`` joins them first;
* its parser masks in Python and copies each byte eight times: ``framing.py`` does it in C, and once;
* its receive buffer is 4 KiB by default, and a larger one is allocated anew for each receive: ``receive.py``.

Compression is never offered: it costs 2 ms per MB and saves nothing on a local network.
Errors of the library and of the streams under it are mapped here; those of getting there, in ``dial.py``.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast, final

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
    wrap_server_stream,
)
from wsproto.utilities import ProtocolError

from hermes_trio.errors import BrokenLinkError, TooSlowError
from hermes_trio.link.auth import bearer_header
from hermes_trio.link.background import open_background_nursery
from hermes_trio.link.dial import ByteStream, dial, drop_stream, hung_up, not_a_daemon, rejected
from hermes_trio.link.fragments import FragmentJoiner
from hermes_trio.link.framing import quicken
from hermes_trio.link.message import MessageLink, RuledLink
from hermes_trio.link.receive import RECEIVE_BUFFER_BYTES, SteadyStream
from hermes_trio.link.url import LinkAddress, parse_link_url
from hermes_trio.telemetry.log import get_logger

_UNSUPPORTED_DATA = 1003
_MESSAGE_TOO_BIG = 1009

logger = get_logger(__name__)


@final
class _Reader:
    """Stands in for the nursery that trio-websocket starts its one task in.

    Args:
        nursery: where the task really runs.
        on_end: called when it has ended, however that was.
    """

    def __init__(self, nursery: trio.Nursery, on_end: Callable[[], object]) -> None:
        self.ended = trio.Event()
        self.error: Exception | None = None
        self._nursery = nursery
        self._on_end = on_end

    def start_soon(self, task: Callable[..., Awaitable[object]], *args: object) -> None:
        self._nursery.start_soon(self._run, task, args)

    async def _run(self, task: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        await trio.lowlevel.checkpoint()
        try:
            await task(*args)
        except Exception as error:  # whatever a peer can provoke in the library breaks this link, no more
            self.error = error
            if not isinstance(error, ConnectionRejected):
                logger.debug("a websocket's reader crashed", exc_info=True)
        finally:
            self.ended.set()
            self._on_end()


@final
class WebSocketLink(RuledLink):
    """A message link over an open websocket. Made by :func:`open_websocket_link` and by the server."""

    def __init__(
        self,
        connection: WebSocketConnection,
        stream: ByteStream,
        reader: _Reader,
        *,
        label: str,
        close_timeout: float,
    ) -> None:
        super().__init__(label=label, close_timeout=close_timeout)
        self._connection = connection
        self._stream = stream
        self._reader = reader
        self._refused = ""  # why we gave the peer up, when it was us
        self._close_code = 1000

    async def _transmit(self, data: bytes) -> None:
        try:
            await self._connection.send_message(data)
        except (ConnectionClosed, ProtocolError) as error:
            raise self._broken() from error

    async def _take(self) -> bytes:
        if self._refused:
            raise self._broken()
        try:
            message = await self._connection.get_message()
        except ConnectionClosed as error:
            raise self._broken() from error
        if isinstance(message, bytes):
            return message
        self._refused = "the peer sent a text message; this protocol is binary"
        self._close_code = _UNSUPPORTED_DATA
        raise self._broken()

    async def _part(self) -> None:
        try:
            await self._connection.aclose(code=self._close_code)
        except ProtocolError:
            await trio.lowlevel.checkpoint()
        reason = self._connection.closed
        if reason is not None and reason.code == _MESSAGE_TOO_BIG:
            await self._linger()

    async def _linger(self) -> None:
        """Read away what is left of the message that was too big, on the side that refused it.

        A socket that is closed with unread bytes in it answers with a reset, and the reset may overtake the
        close frame (RFC 9293, 3.10.4): the peer would never learn why. Both sides end their half of the
        stream first, so that neither waits for the other to begin.
        """
        try:
            if isinstance(self._stream, trio.SocketStream):
                await self._stream.send_eof()
            await self._reader.ended.wait()
            while await self._stream.receive_some(RECEIVE_BUFFER_BYTES):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            await trio.lowlevel.checkpoint()

    def _drop(self) -> None:
        drop_stream(self._stream)

    def _broken(self) -> BrokenLinkError:
        reason = self._connection.closed
        if self._refused:
            why = self._refused
        elif reason is None:
            why = f"the websocket broke ({type(self._reader.error).__name__})"
        else:
            why = f"websocket close {reason.code} {reason.name}"
            why += f": {reason.reason!r}" if reason.reason else ""
        return BrokenLinkError(f"the link {self._label} ended: {why}")


def _join_fragments(connection: WebSocketConnection) -> None:
    """Put a joiner behind the connection's parser. The library offers no other place for one."""
    parser = connection._wsproto
    events, joiner = parser.events, FragmentJoiner()
    parser.events = lambda: joiner.join(events())  # type: ignore[method-assign]


class _HandshakeError(Exception):
    """The reader ended before the websocket was open; the cause, if there is one, says why."""


async def _shake_hands(
    nursery: trio.Nursery,
    stream: ByteStream,
    shake: Callable[[trio.Nursery], Awaitable[WebSocketConnection]],
    *,
    label: str,
    close_timeout: float,
) -> WebSocketLink:
    """Run one side's handshake; give up as soon as the library's reader does."""
    waiting = trio.CancelScope()
    reader = _Reader(nursery, on_end=waiting.cancel)
    with waiting:
        connection = await shake(cast(trio.Nursery, reader))
        quicken(connection._wsproto)
        _join_fragments(connection)
        return WebSocketLink(connection, stream, reader, label=label, close_timeout=close_timeout)
    raise _HandshakeError from reader.error


@asynccontextmanager
async def open_accepted_link(
    stream: ByteStream,
    head_stream: trio.abc.Stream,
    *,
    label: str,
    max_message_bytes: int,
    handshake_deadline: float,
    close_timeout: float,
) -> AsyncIterator[MessageLink]:
    """Answer an upgrade that has been judged, and keep the link for the block. The server's side.

    Cancellation: shielded, at most ``close_timeout`` s.

    Args:
        stream: the connection.
        head_stream: the same, with the request's head in front again.
        label: names the peer.
        max_message_bytes: a larger message breaks the link with 1009.
        handshake_deadline: on Trio's clock.
        close_timeout: bounds the polite part of closing.

    Yields:
        The link.

    Raises:
        BrokenLinkError: the peer went away, or the time was over, before the websocket was open.
    """

    async def shake(nursery: trio.Nursery) -> WebSocketConnection:
        request = await wrap_server_stream(
            nursery,
            head_stream,
            max_message_size=max_message_bytes,
            receive_buffer_size=RECEIVE_BUFFER_BYTES,
        )
        return await request.accept()

    async with open_background_nursery() as nursery:
        link: WebSocketLink | None = None
        with trio.CancelScope(deadline=handshake_deadline), suppress(_HandshakeError, ConnectionClosed):
            link = await _shake_hands(nursery, stream, shake, label=label, close_timeout=close_timeout)
        if link is None:
            raise BrokenLinkError(f"the link {label} ended before its handshake did")
        async with link:
            yield link


@asynccontextmanager
async def open_websocket_link(
    url: str,
    *,
    token: str | None = None,
    max_message_bytes: int,
    connect_timeout: float,
    close_timeout: float = 2.0,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[MessageLink]:
    """Connect to a sandbox daemon and keep the link for the block.

    Connecting covers the name, TCP, TLS and the websocket's handshake. An exception of the block leaves as
    it was raised.

    Cancellation: shielded, at most ``close_timeout`` s; nothing is left open.

    Args:
        url: ``ws://host:port`` or ``wss://host:port``.
        token: presented as a bearer token; never shown in any text. ``None``: none is sent.
        max_message_bytes: a larger message breaks the link with 1009.
        connect_timeout: seconds until connecting is given up.
        close_timeout: seconds the polite part of closing may take.
        ssl_context: for ``wss://``; ``None`` means the system's trust store.

    Yields:
        The open link.

    Raises:
        InvalidInputError: the URL or the token cannot be used.
        UnavailableError: no such host, nothing listens, the certificate or the token is wrong, or whoever
            listens is not a sandbox daemon. The text says which.
        BusyError: the daemon has no room for another connection now.
        TooSlowError: ``connect_timeout`` passed.
    """
    address = parse_link_url(url)
    headers = [] if token is None else [(b"Authorization", bearer_header(token).encode("ascii"))]

    async with open_background_nursery() as nursery:
        link: WebSocketLink | None = None
        with trio.move_on_after(connect_timeout):
            stream = await dial(address, ssl_context)
            try:
                link = await _open_client(
                    nursery, stream, address, headers, max_message_bytes, close_timeout=close_timeout
                )
            finally:
                if link is None:
                    drop_stream(stream)
        if link is None:
            raise TooSlowError(f"{address.origin} did not open a link within {connect_timeout:g} s")
        async with link:
            yield link


async def _open_client(
    nursery: trio.Nursery,
    stream: ByteStream,
    address: LinkAddress,
    headers: list[tuple[bytes, bytes]],
    max_message_bytes: int,
    *,
    close_timeout: float,
) -> WebSocketLink:
    async def shake(nursery: trio.Nursery) -> WebSocketConnection:
        return await wrap_client_stream(
            nursery,
            SteadyStream(stream),  # type: ignore[arg-type]  # its documentation asks for any trio stream
            address.authority,
            address.resource,
            extra_headers=headers,
            max_message_size=max_message_bytes,
            receive_buffer_size=RECEIVE_BUFFER_BYTES,
        )

    try:
        return await _shake_hands(nursery, stream, shake, label=address.origin, close_timeout=close_timeout)
    except _HandshakeError as error:
        match error.__cause__:
            case ConnectionRejected(status_code=status):
                raise rejected(address, status, with_token=bool(headers)) from None  # may repeat headers
            case None:
                raise hung_up(address) from None
            case cause:
                raise not_a_daemon(address, "it does not speak websocket") from cause
