"""The HTTP server's connections: accepted, counted, and ended.

HTTP/2 is off. Hypercorn would take it up on a plain connection, by prior knowledge or by an upgrade; our
bounds are those of one request at a time on a connection, and streams, resets and windows would need their
own (CVE-2023-44487 is the best known). Clients here are programs with kept connections: it would bring them
nothing.
"""

from __future__ import annotations

import socket
from functools import partial
from typing import Final

import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext

from hermes_trio.api.connection import HttpConnection
from hermes_trio.api.guard import AsgiApp
from hermes_trio.api.limits import ApiLimits
from hermes_trio.errors import UnavailableError
from hermes_trio.telemetry.log import get_logger

logger = get_logger(__name__)

_BACKLOG: Final = 1024
"""Hundreds of clients connect in the same instant when a run begins."""


class HttpListener:
    """Accepts connections and counts them.

    Args:
        app: an ASGI application.
        listening: a socket that listens.
        limits: see :class:`ApiLimits`.
    """

    def __init__(self, app: AsgiApp, listening: socket.socket, limits: ApiLimits) -> None:
        self._app = app
        self._limits = limits
        self._config = _config(limits)
        self._context = WorkerContext(None)
        self._socket = listening
        self._connections = set[HttpConnection]()
        self.turned_away = 0
        """Connections that were closed at once, because there were too many."""

    def __repr__(self) -> str:
        return f"<HttpListener {len(self._connections)} connections, {self.turned_away} turned away>"

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._connections)

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
            await self._context.terminated.set()
            for each in self._connections:
                each.stop()
            connections.cancel_scope.deadline = trio.current_time() + self._limits.shutdown_grace_s

    async def _serve_one(self, stream: trio.SocketStream) -> None:
        await trio.lowlevel.checkpoint()
        if len(self._connections) >= self._limits.max_connections:
            self.turned_away += 1
            await stream.aclose()
            return
        connection = HttpConnection(self._app, self._config, self._context, self._limits, stream)
        self._connections.add(connection)
        try:
            await connection.run()
        except Exception:
            # The boundary where a crash in one connection stays that connection's.
            logger.exception("a connection crashed")
        finally:
            self._connections.remove(connection)


def _config(limits: ApiLimits) -> Config:
    config = Config()
    config.accesslog = config.errorlog = None
    config.include_server_header = False
    config.h11_max_incomplete_size = limits.max_head_bytes
    config.keep_alive_max_requests = 2**31
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
