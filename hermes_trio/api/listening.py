"""Connections: hypercorn's HTTP over Trio sockets, with the bounds that it does not have itself.

Theory of operation. Hypercorn (0.18) runs one reader task a connection and sends under a shield without a
deadline: a client that does not read would hold its connection, and our shutdown, for ever. Its read
time-out counts while a request is being worked on, so that it cannot be used against clients that dribble
their headers. Both bounds are therefore put where the bytes are, into the stream that it is given; and the
accept loop is ours, so that connections are counted, and a crash in one is not the others'.

HTTP/2 is off. Hypercorn would take it up on a plain connection, by prior knowledge or by an upgrade; our
bounds are those of one request at a time on a connection, and streams, resets and windows would need their
own (CVE-2023-44487 is the best known). Clients here are programs with kept connections: it would bring them
nothing.
"""

from __future__ import annotations

import math
import socket
from functools import partial
from typing import Any, Final

import trio
from hypercorn.config import Config
from hypercorn.events import Event, Updated
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState
from hypercorn.utils import wrap_app

from hermes_trio.api.limits import ApiLimits
from hermes_trio.errors import UnavailableError
from hermes_trio.telemetry.log import get_logger

logger = get_logger(__name__)

_BACKLOG: Final = 1024
"""Hundreds of clients connect in the same instant when a run begins."""
_PIECE_BYTES: Final = 64 * 1024


class BoundedStream:
    """A socket's stream for hypercorn, which raises as if it were broken when its client is too slow."""

    def __init__(self, stream: trio.SocketStream, limits: ApiLimits) -> None:
        self._stream = stream
        self._limits = limits
        self._between_requests = True
        self._head_ends = math.inf  # when the head that has begun must be there

    def __repr__(self) -> str:
        return f"<BoundedStream {'idle' if self._between_requests else 'in a request'}>"

    @property
    def socket(self) -> Any:
        """For hypercorn, which wants its addresses."""
        return self._stream.socket

    def note(self, *, between_requests: bool) -> None:
        """A head is complete, or a request is over."""
        self._between_requests = between_requests
        self._head_ends = math.inf

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """As Trio's streams do. Cancellation: atomic.

        Raises:
            BrokenResourceError: the connection broke, or a head took too long.
        """
        with trio.CancelScope(deadline=self._head_ends) as scope:
            data = await self._stream.receive_some(max_bytes)
        if scope.cancelled_caught:
            raise trio.BrokenResourceError("the head of a request took too long")
        if self._between_requests and self._head_ends == math.inf:
            self._head_ends = trio.current_time() + self._limits.head_limit_s
        return bytes(data)

    async def send_all(self, data: bytes) -> None:
        """As Trio's streams do. Cancellation: poisons.

        Raises:
            BrokenResourceError: the connection broke, or the client takes nothing.
        """
        await trio.lowlevel.checkpoint()
        for start in range(0, len(data), _PIECE_BYTES):
            with trio.move_on_after(self._limits.stall_limit_s) as scope:
                await self._stream.send_all(data[start : start + _PIECE_BYTES])
            if scope.cancelled_caught:
                raise trio.BrokenResourceError("the client does not take its answer")

    async def send_eof(self) -> None:
        """As Trio's streams do. Cancellation: atomic."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """As Trio's streams do. Cancellation: atomic; it is closed all the same."""
        await self._stream.aclose()


class _Connection(TCPServer):
    """One connection; tells its stream where requests begin and end."""

    stream: Any

    async def protocol_send(self, event: Event) -> None:
        """See hypercorn. Cancellation: shielded, at most ``stall_limit_s`` s for each 64 KiB."""
        if isinstance(event, Updated):
            self.stream.note(between_requests=event.idle)
        await super().protocol_send(event)

    async def _read_data(self) -> None:
        http1: Any = self.protocol.protocol
        http1._check_protocol = _stay_with_http1
        await super()._read_data()
        # Nobody is there any more: hypercorn itself would keep the connection until its idle time is over.
        await self.idle_task.stop()


async def _stay_with_http1(_request: Any) -> None:
    """Instead of hypercorn's look for HTTP/2. An upgrade is passed over; ``guard.py`` answers the preface."""
    await trio.lowlevel.checkpoint()


class HttpListener:
    """Accepts connections and counts them.

    Args:
        app: an ASGI application.
        listening: a socket that listens.
        limits: see :class:`ApiLimits`.
    """

    def __init__(self, app: Any, listening: socket.socket, limits: ApiLimits) -> None:
        self._app: Any = wrap_app(app, 0, "asgi")
        self._limits = limits
        self._config = _config(limits)
        self._context = WorkerContext(None)
        self._socket = listening
        self._connections = 0
        self.turned_away = 0
        """Connections that were closed at once, because there were too many."""

    def __repr__(self) -> str:
        return f"<HttpListener {self._connections} connections, {self.turned_away} turned away>"

    @property
    def connections(self) -> int:
        """Open now."""
        return self._connections

    async def run(
        self, *, stop: trio.Event, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until ``stop`` is set; then nobody new is let in, and requests under way have their grace.

        Cancellation: *poisons*: requests under way are dropped.
        """
        await trio.lowlevel.checkpoint()
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._socket))
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                serve = partial(trio.serve_listeners, handler_nursery=connections)
                await accepting.start(serve, self._serve_one, [listener])
                task_status.started()
                await stop.wait()
                accepting.cancel_scope.cancel()
            await self._context.terminated.set()  # ends the connections that are between two requests
            connections.cancel_scope.deadline = trio.current_time() + self._limits.shutdown_grace_s

    async def _serve_one(self, stream: trio.SocketStream) -> None:
        await trio.lowlevel.checkpoint()
        if self._connections >= self._limits.max_connections:
            self.turned_away += 1
            await stream.aclose()
            return
        self._connections += 1
        bounded: Any = BoundedStream(stream, self._limits)
        state = ConnectionState(LifespanState({}))
        try:
            await _Connection(self._app, self._config, self._context, state, bounded).run()
        except Exception:
            # The boundary where a crash in one connection stays that connection's.
            logger.exception("a connection crashed")
        finally:
            self._connections -= 1


def _config(limits: ApiLimits) -> Config:
    config = Config()
    config.accesslog = config.errorlog = None
    config.include_server_header = False
    config.h11_max_incomplete_size = limits.max_head_bytes
    config.keep_alive_timeout = limits.idle_limit_s
    config.keep_alive_max_requests = 2**31
    # Pieces of a request's body that may wait for the application: backpressure begins early.
    config.max_app_queue_size = 2
    config.websocket_max_message_size = 1024 * 1024
    return config


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UnavailableError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise UnavailableError(f"Cannot listen on {host}:{port}: {error.strerror}.") from error
    return listening
