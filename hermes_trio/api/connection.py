"""One connection of the HTTP server: hypercorn's protocol over a Trio socket, with bounds of our own.

Theory of operation. Hypercorn (0.18) parses, frames and speaks ASGI; its own Trio transport is not used. That
one sends under a shield without a deadline, so that a client which does not read would hold its connection,
and our shutdown, for ever; its read time-out counts while a request is being worked on, so that it cannot be
used against clients that dribble their headers; and it starts and cancels a task for the idle time around
each request. Here the reader has one deadline, which is that of what it waits for: the next request, or the
rest of a head; and each 64 KiB that are sent have theirs.

The head of an answer whose length is known goes out together with the first of its body: one system call and
one segment instead of two, and the client wakes once.

What hypercorn awaits here is no checkpoint where there is nothing to wait for: there are ten such words in a
request, and a pass of the scheduler for each would be a tenth of what it costs.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any, Final

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState as SharedState
from hypercorn.typing import LifespanState
from hypercorn.utils import parse_socket_addr
from wsproto.connection import ConnectionState

from hermes_trio.api.exchange import ExchangeTasks
from hermes_trio.api.guard import AsgiApp
from hermes_trio.api.limits import ApiLimits

_PIECE_BYTES: Final = 64 * 1024


class HttpConnection:
    """Serves one client.

    Args:
        app: answers the requests.
        config: hypercorn's.
        context: hypercorn's; tells its protocol that the server is about to stop.
        limits: see :class:`ApiLimits`.
        stream: to the client.
    """

    def __init__(
        self,
        app: AsgiApp,
        config: Config,
        context: WorkerContext,
        limits: ApiLimits,
        stream: trio.SocketStream,
    ) -> None:
        self._app, self._config, self._context = app, config, context
        self._limits, self._stream = limits, stream
        self._protocol: Any = None
        self._sending = trio.Lock()
        self._between_requests = True
        self._head_has_begun = False  # of the next request
        self._reading = trio.CancelScope(deadline=trio.current_time() + limits.idle_limit_s)
        self._head_is_next = False  # of an answer
        self._held = b""  # that head, which waits for its body

    def __repr__(self) -> str:
        return f"<HttpConnection {'idle' if self._between_requests else 'in a request'}>"

    async def run(self) -> None:
        """Serve until the client leaves, is too slow, or :meth:`stop`.

        Cancellation: *poisons*: the request under way is dropped.
        """
        try:
            client, server = self._addresses()
            async with trio.open_nursery() as nursery:
                tasks: Any = ExchangeTasks(self._app, nursery)
                state = SharedState(LifespanState({}))
                nobody: Any = None  # hypercorn would hand it back to the tasks, which have the application
                self._protocol = H11Protocol(
                    nobody, self._config, self._context, tasks, state, False, client, server, self._send
                )
                self._protocol._check_protocol = _stay_with_http1
                await self._read()
        except OSError:
            await trio.lowlevel.checkpoint()  # it left before it was asked for its address
        finally:
            with trio.CancelScope(shield=True):  # closing waits for nobody
                await self._close()

    def _addresses(self) -> tuple[Any, Any]:
        socket = self._stream.socket
        return (
            parse_socket_addr(socket.family, socket.getpeername()),
            parse_socket_addr(socket.family, socket.getsockname()),
        )

    def stop(self) -> None:
        """Read no further request. The one that is under way is finished."""
        if self._between_requests:
            self._reading.cancel()

    async def _read(self) -> None:
        with self._reading, contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            data = b"unread"
            while data and not _was_too_big(self._protocol.stream):
                data = await self._receive()
                await self._protocol.handle(RawData(data))
        await self._protocol.handle(Closed())

    async def _receive(self) -> bytes:
        data = bytes(await self._stream.receive_some(_PIECE_BYTES))
        if self._between_requests and not self._head_has_begun:
            self._head_has_begun = True
            self._reading.deadline = trio.current_time() + self._limits.head_limit_s
        return data

    async def _send(self, event: Event) -> None:  # noqa: ASYNC910 - see the module
        """Take what the protocol has to say.

        Cancellation: shielded, at most ``stall_limit_s`` s for each 64 KiB.
        """
        if isinstance(event, RawData):
            await self._send_bytes(event.data)
        elif isinstance(event, Updated):
            self._note(idle=event.idle)
        else:
            await self._close()
            await self._protocol.handle(Closed())

    def _note(self, *, idle: bool) -> None:
        """The head of a request is complete, or its answer is."""
        self._between_requests, self._head_has_begun = idle, False
        self._head_is_next = not idle
        self._reading.deadline = trio.current_time() + self._limits.idle_limit_s if idle else math.inf

    async def _send_bytes(self, data: bytes) -> None:
        data, self._held = self._held + data, b""
        if self._may_wait(data):
            self._held = data
            return  # noqa: ASYNC910 - see the module
        try:
            await self._send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._reading.cancel()  # it may be waiting for this answer, with the next request in its hands
            await self._protocol.handle(Closed())

    def _may_wait(self, data: bytes) -> bool:
        """It is the head of an answer whose body follows at once; an empty one is said by hypercorn too."""
        if not self._head_is_next or data.startswith(b"HTTP/1.1 1"):
            return False
        self._head_is_next = False
        return b"\r\ncontent-length:" in data.lower()

    async def _send_all(self, data: bytes) -> None:  # noqa: ASYNC910 - see the module
        with trio.CancelScope(shield=True) as scope:  # noqa: ASYNC912 - see the module
            for start in range(0, len(data), _PIECE_BYTES):
                scope.deadline = trio.current_time() + self._limits.stall_limit_s
                async with self._sending:  # the reader speaks too: it refuses, and says to go on with a body
                    await self._stream.send_all(data[start : start + _PIECE_BYTES])
        if scope.cancelled_caught:
            raise trio.BrokenResourceError("the client does not take its answer")

    async def _close(self) -> None:
        # The client may be gone already, or not read what is being sent.
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            await self._stream.send_eof()
        await self._stream.aclose()


def _was_too_big(stream: Any) -> bool:
    """Hypercorn has refused a websocket's message, and would keep whatever else comes."""
    return (
        isinstance(stream, WSStream)
        and stream.state is ASGIWebsocketState.CONNECTED
        and stream.connection.state is ConnectionState.LOCAL_CLOSING
    )


async def _stay_with_http1(_request: Any) -> None:
    """Instead of hypercorn's look for HTTP/2: an upgrade is passed over, its preface is answered 505."""
    await trio.lowlevel.checkpoint()
