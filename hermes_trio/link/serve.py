"""The listening side: one port for websocket links and for ``GET /health``.

Theory of operation. Every connection gets a task. It reads the request's head itself, within
:data:`HANDSHAKE_LIMIT_S` and :data:`~hermes_trio.link.head.MAX_HEAD_BYTES`, lets ``head.judge`` decide, and
either answers in plain HTTP and hangs up, or hands the stream, with the head put back in front, to the
websocket library. Nothing that a peer does, and no crash of a handler, ends the server: each is the end of
one connection, and crashes are logged here.

Accepting itself is ``trio.serve_listeners``: its policy when the process or the system runs out of file
descriptors (pause 100 ms, log, go on) is the one wanted here.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Never, assert_never, final

import orjson
import trio

from hermes_trio.errors import BrokenLinkError, ClosedError, UnavailableError
from hermes_trio.link.dial import ByteStream, drop_stream
from hermes_trio.link.head import Answer, HeadReader, RequestHead, Wish, judge, refuse, refuse_for_room
from hermes_trio.link.message import MessageLink
from hermes_trio.link.receive import SteadyStream
from hermes_trio.link.websocket import open_accepted_link
from hermes_trio.telemetry.log import get_logger

HANDSHAKE_LIMIT_S = 10.0
"""From the first byte expected to the open websocket."""
MAX_UNPROVEN = 128
"""Connections that may be at their handshake at once; what comes on top is turned away unread."""

_LINGER_LIMIT_S = 1.0
_LINGER_MAX_BYTES = 4 * 1024 * 1024
_RECEIVE_BYTES = 64 * 1024

LinkHandler = Callable[[MessageLink, str], Awaitable[object]]
HealthReport = Callable[[], Mapping[str, Any]]
Admission = Callable[[tuple[Any, ...], tuple[Any, ...]], bool]

logger = get_logger(__name__)


@final
class HeadFirstStream(trio.abc.Stream):
    """A stream with some bytes put back in front of it.

    Once they are taken, the methods of the stream below take this object's place, so that nothing of the
    detour remains on the hot path.
    """

    def __init__(self, head: bytes, stream: trio.abc.Stream) -> None:
        self._head = head
        self._stream = stream
        self.send_all = stream.send_all  # type: ignore[method-assign]
        self.aclose = stream.aclose  # type: ignore[method-assign]

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """The bytes in front, then those of the stream. Cancellation: atomic, as the stream below."""
        await trio.lowlevel.checkpoint()
        self.receive_some = self._stream.receive_some  # type: ignore[method-assign]
        return self._head

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:  # pragma: no cover
        """Replaced by the stream's own. Cancellation: poisons, as there."""
        raise NotImplementedError

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream below. Cancellation: atomic."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:  # pragma: no cover
        """Replaced by the stream's own. Cancellation: atomic, as there: closes all the same."""
        raise NotImplementedError


async def serve_websocket_links(
    handler: LinkHandler,
    *,
    host: str,
    port: int,
    check_token: Callable[[str | None], bool],
    health: HealthReport,
    max_message_bytes: int,
    max_connections: int,
    close_timeout: float = 2.0,
    ssl_context: ssl.SSLContext | None = None,
    admit: Admission | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> Never:
    """Serve links until cancelled.

    Cancellation: shielded, at most ``close_timeout`` s: open links are closed, handlers are cancelled first.

    Args:
        handler: is given each link and the peer's ``host:port``; the link is closed when it returns. What
            it raises is logged and ends that link only.
        host: address to listen on.
        port: 0 lets the system choose.
        check_token: judges the value of the ``Authorization`` header (``None``: there was none), in constant
            time; :class:`~hermes_trio.link.auth.TokenGate` does.
        health: makes the JSON of ``GET /health``. Anybody may ask: nothing secret belongs in it.
        max_message_bytes: a larger message breaks its link with 1009.
        max_connections: open links at once; one more is answered 503.
        close_timeout: bounds the polite part of closing a link.
        ssl_context: serve TLS with it; ``None``: plain.
        admit: judges a connection by its two addresses, ours first; one that is not admitted is dropped
            unheard. ``None``: everybody is.
        task_status: is given the port once connections are accepted.

    Raises:
        UnavailableError: it is not possible to listen there.
    """
    server = _Server(
        handler,
        check_token=check_token,
        health=health,
        max_message_bytes=max_message_bytes,
        max_connections=max_connections,
        close_timeout=close_timeout,
        admit=admit,
    )
    listener = await _listen(host, port)
    bound_port: int = listener.socket.getsockname()[1]
    wrapped = (
        listener if ssl_context is None else trio.SSLListener(listener, ssl_context, https_compatible=True)
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_listeners, server.serve, [wrapped]))
        task_status.started(bound_port)
    raise AssertionError("unreachable: listeners are served until cancelled")


async def _listen(host: str, port: int) -> trio.SocketListener:
    try:
        # A name may stand for several addresses; with port 0 each would get a port of its own.
        first, *others = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise UnavailableError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}.",
            mend="Choose another address or port.",
        ) from error
    for other in others:
        await other.aclose()
    return first


@final
class _Gauge:
    """How many tasks are inside."""

    def __init__(self) -> None:
        self.value = 0

    def __enter__(self) -> None:
        self.value += 1

    def __exit__(self, *_: object) -> None:
        self.value -= 1


@final
class _Server:
    """Counts connections and walks each one through its life."""

    def __init__(
        self,
        handler: LinkHandler,
        *,
        check_token: Callable[[str | None], bool],
        health: HealthReport,
        max_message_bytes: int,
        max_connections: int,
        close_timeout: float,
        admit: Admission | None,
    ) -> None:
        self._handler = handler
        self._admit = admit
        self._check_token = check_token
        self._health = health
        self._max_message_bytes = max_message_bytes
        self._max_connections = max_connections
        self._close_timeout = close_timeout
        self._unproven = _Gauge()
        self._links = _Gauge()

    def __repr__(self) -> str:
        return f"<link server: {self._links.value} links, {self._unproven.value} at the door>"

    async def serve(self, stream: ByteStream) -> None:
        """Serve one connection; raises nothing but ``Cancelled``.

        Cancellation: shielded, at most ``close_timeout`` s.
        """
        await trio.lowlevel.checkpoint()
        try:
            if self._admits(stream):
                await self._serve(stream, _peer_of(stream))
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            logger.debug("a connection went away", exc_info=True)
        except Exception:
            logger.exception("serving a connection failed")
        finally:
            drop_stream(stream)

    def _admits(self, stream: ByteStream) -> bool:
        transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        if self._admit is None or not isinstance(transport, trio.SocketStream):
            return True
        return self._admit(transport.socket.getsockname(), transport.socket.getpeername())

    async def _serve(self, stream: ByteStream, peer: str) -> None:
        await trio.lowlevel.checkpoint()
        deadline = trio.current_time() + HANDSHAKE_LIMIT_S
        if self._unproven.value >= MAX_UNPROVEN:
            await _answer(stream, refuse_for_room(), deadline=deadline, linger=False)
            return
        with self._unproven:
            raw, wish = await self._hear(stream, deadline)
        match wish:
            case None:
                logger.debug("a request was not finished", peer=peer)
            case Answer(status=status):
                logger.info("a request was answered without an upgrade", peer=peer, status=int(status))
                await _answer(stream, wish, deadline=deadline)
            case Wish.HEALTH:
                await _answer(stream, self._health_answer(), deadline=deadline)
            case Wish.LINK:
                with (
                    self._links
                ):  # no checkpoint lies between the judgement and this: the room is still there
                    await self._serve_link(stream, raw, peer, deadline)
            case _:
                assert_never(wish)

    async def _hear(self, stream: ByteStream, deadline: float) -> tuple[bytes, Wish | Answer | None]:
        reader = HeadReader()
        head: RequestHead | Answer | None = refuse(HTTPStatus.REQUEST_TIMEOUT)
        with trio.CancelScope(deadline=deadline):
            head = await _read_head(stream, reader)
        if not isinstance(head, RequestHead):
            return b"", head
        room = self._links.value < self._max_connections
        return reader.raw, judge(head, check_token=self._check_token, room=room)

    async def _serve_link(self, stream: ByteStream, raw: bytes, peer: str, deadline: float) -> None:
        await trio.lowlevel.checkpoint()
        with suppress(BrokenLinkError, ClosedError):
            async with open_accepted_link(
                stream,
                HeadFirstStream(raw, SteadyStream(stream)),
                label=f"from {peer}",
                max_message_bytes=self._max_message_bytes,
                handshake_deadline=deadline,
                close_timeout=self._close_timeout,
            ) as link:
                await self._handler(link, peer)

    def _health_answer(self) -> Answer:
        try:
            body = orjson.dumps(self._health())
        except Exception:
            logger.exception("the health report failed")
            return refuse(HTTPStatus.INTERNAL_SERVER_ERROR)
        return Answer(status=HTTPStatus.OK, body=body, content_type=b"application/json")


async def _read_head(stream: ByteStream, reader: HeadReader) -> RequestHead | Answer | None:
    while True:
        data = await stream.receive_some(_RECEIVE_BYTES)
        if not data:
            return None
        head = reader.receive_data(bytes(data))
        if head is not None:
            return head


def _peer_of(stream: ByteStream) -> str:
    transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    host, port, *_ = transport.socket.getpeername()
    return f"{host}:{port}"


async def _answer(stream: ByteStream, answer: Answer, *, deadline: float, linger: bool = True) -> None:
    """Send a plain HTTP answer and see it through.

    Hanging up on unread bytes resets the connection, and the reset destroys the answer before the peer has
    read it (RFC 9112, 9.6). So the rest of what the peer says is read away, within bounds.
    """
    with trio.CancelScope(deadline=max(deadline, trio.current_time() + _LINGER_LIMIT_S)):
        await stream.send_all(answer.render())
    if not linger:
        return
    with trio.move_on_after(_LINGER_LIMIT_S):
        await trio.lowlevel.checkpoint()
        if isinstance(stream, trio.SocketStream):
            await stream.send_eof()
        left = _LINGER_MAX_BYTES
        while left > 0 and (data := await stream.receive_some(_RECEIVE_BYTES)):
            left -= len(data)
