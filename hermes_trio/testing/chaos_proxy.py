"""A TCP proxy on loopback between real processes, that can be told to misbehave.

Put it between an executor and real daemons with :class:`ProxiedBackend`. What it does to connections is what
happens to them: an orderly end, a reset, half an end, a silence that nobody is told of (a half-open link), a
delay, a connection that is opened twice.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import final

import trio
from attrs import define, field

from hermes_trio.backends.base import Backend, DaemonEndpoint, EndpointBoard
from hermes_trio.link.background import open_background_nursery
from hermes_trio.link.message import MessageLink
from hermes_trio.link.url import parse_link_url
from hermes_trio.link.websocket import open_websocket_link

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: the close is a reset (socket(7))."""
_RECORDED_BYTES = 64 * 1024


@define(eq=False)
class ProxiedConnection:
    """One connection through the proxy."""

    near: trio.SocketStream
    far: trio.SocketStream
    dark: bool = False
    """What comes is swallowed, in both directions; the sockets stay open."""
    first_bytes: bytearray = field(factory=bytearray, repr=False)
    """What the near side said first, for :meth:`ChaosProxy.duplicate`."""

    def close(self, *, reset: bool = False) -> None:
        """End both sides now."""
        for stream in (self.near, self.far):
            if reset:
                with suppress(OSError):
                    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            stream.socket.close()


class ChaosProxy:
    """Made by :func:`open_chaos_proxy`. Connections are in the order in which they came."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.delay_s = 0.0
        """Each piece of data waits so long, in each direction."""
        self.connections: list[ProxiedConnection] = []
        self._nursery = nursery
        self._ports: dict[tuple[str, int], int] = {}

    def __repr__(self) -> str:
        return f"<ChaosProxy {len(self.connections)} connections to {len(self._ports)} targets>"

    async def port_to(self, host: str, port: int) -> int:
        """A port here that leads there.

        Cancellation: atomic.
        """
        if (host, port) not in self._ports:
            serve = partial(trio.serve_tcp, partial(self._relay, host, port), 0, host="127.0.0.1")
            [listener] = await self._nursery.start(serve)
            self._ports[host, port] = listener.socket.getsockname()[1]
        await trio.lowlevel.checkpoint()
        return self._ports[host, port]

    def cut(self, *, reset: bool = False) -> None:
        """End every connection, in order or by a reset."""
        for connection in list(self.connections):
            connection.close(reset=reset)

    def darken(self) -> None:
        """From here on the present connections are half-open: no byte passes, and nobody is told."""
        for connection in self.connections:
            connection.dark = True

    def half_close(self) -> None:
        """End the near side's half of every connection: the far side hears an end, the near side nothing."""
        for connection in self.connections:
            with suppress(OSError):
                connection.far.socket.shutdown(socket.SHUT_WR)

    def duplicate(self) -> None:
        """Open every connection a second time and say the same first words on it."""
        for connection in list(self.connections):
            with suppress(*_GONE):
                host, port = connection.far.socket.getpeername()[:2]
                self._nursery.start_soon(_say_again, host, port, bytes(connection.first_bytes))

    async def _relay(self, host: str, port: int, near: trio.SocketStream) -> None:
        await trio.lowlevel.checkpoint()
        try:
            far = await trio.open_tcp_stream(host, port)
        except OSError:
            near.socket.close()
            return
        connection = ProxiedConnection(near, far)
        self.connections.append(connection)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._copy, connection, near, far, connection.first_bytes)
                nursery.start_soon(self._copy, connection, far, near, bytearray())
        finally:
            self.connections.remove(connection)
            connection.close()

    async def _copy(
        self,
        connection: ProxiedConnection,
        source: trio.SocketStream,
        sink: trio.SocketStream,
        first: bytearray,
    ) -> None:
        await trio.lowlevel.checkpoint()
        with suppress(*_GONE):
            while data := await source.receive_some(64 * 1024):
                first += data[: _RECORDED_BYTES - len(first)]
                if self.delay_s:
                    await trio.sleep(self.delay_s)
                if not connection.dark:
                    await sink.send_all(data)
        if not connection.dark:
            connection.close()


async def _say_again(host: str, port: int, words: bytes) -> None:
    await trio.lowlevel.checkpoint()
    with suppress(*_GONE), trio.move_on_after(1.0):
        async with await trio.open_tcp_stream(host, port) as stream:
            await stream.send_all(words)
            while await stream.receive_some(64 * 1024):
                pass


@asynccontextmanager
async def open_chaos_proxy() -> AsyncIterator[ChaosProxy]:
    """A proxy that behaves until it is told not to.

    Cancellation: atomic; all its connections end with the block.
    """
    async with open_background_nursery() as nursery:
        yield ChaosProxy(nursery)


@final
class ProxiedBackend(Backend):
    """Another backend's daemons, reached through a proxy."""

    def __init__(self, inner: Backend, proxy: ChaosProxy) -> None:
        self._inner = inner
        self._proxy = proxy

    @property
    def name(self) -> str:
        """The other backend's."""
        return self._inner.name

    @property
    def board(self) -> EndpointBoard:
        """The other backend's."""
        return self._inner.board

    def dial(
        self, endpoint: DaemonEndpoint, *, max_message_bytes: int, connect_timeout: float
    ) -> AbstractAsyncContextManager[MessageLink]:
        """A link through the proxy; see :meth:`Backend.dial`."""
        return self._dial(endpoint, max_message_bytes, connect_timeout)

    @asynccontextmanager
    async def _dial(
        self, endpoint: DaemonEndpoint, max_message_bytes: int, connect_timeout: float
    ) -> AsyncIterator[MessageLink]:
        address = parse_link_url(endpoint.url)
        port = await self._proxy.port_to(address.host, address.port)
        async with open_websocket_link(
            f"ws://127.0.0.1:{port}",
            token=endpoint.token,
            max_message_bytes=max_message_bytes,
            connect_timeout=connect_timeout,
        ) as link:
            yield link
