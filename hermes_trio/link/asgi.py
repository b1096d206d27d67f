"""Serves an ASGI application over HTTP: one socket, hypercorn on Trio, nothing printed."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, Never

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from hermes_trio.errors import InvalidInputError, UnavailableError
from hermes_trio.link.auth import TokenGate

_BACKLOG = 1024
"""Hundreds of clients connect in the same instant when a run begins."""


async def serve_asgi(
    app: Any,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    path: str = "",
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> Never:
    """Serve until cancelled. ``task_status.started`` is told the base URL, ``http://host:port`` and the path.

    Cancellation: *atomic*: requests under way are dropped, the socket is closed.

    Args:
        app: an ASGI application.
        host: address to listen on.
        port: 0 takes a free one.
        path: of the application, for its base URL.
        task_status: Trio's.

    Raises:
        UnavailableError: the address cannot be listened on.
    """
    listener = _bound_socket(host, port)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listener.getsockname()[1]}{path}"
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, app, _config(listener))
        task_status.started(url)
        await trio.sleep_forever()


def bearer_refusal(gate: TokenGate | None, header: str | None) -> tuple[int, str] | None:
    """Status and detail for who may not come in; ``None``: they may. The ancestor's words.

    Args:
        gate: ``None``: everybody may.
        header: the ``Authorization`` header; ``None``: there was none.
    """
    if gate is None:
        return None
    if not header:
        return 401, "Missing Authorization header"
    if not header.lower().startswith("bearer "):
        return 401, "Invalid Authorization header"
    return None if gate(header) else (403, "Invalid token")


def check_may_be_open(host: str, *, has_token: bool) -> None:
    """Refuse to listen to other machines without a token.

    Raises:
        InvalidInputError: the address is not this machine's own, and there is no token.
    """
    if not has_token and not is_loopback(host):
        raise InvalidInputError(
            f"listening on {host} needs a token: other machines can reach it", field="host"
        )


def is_loopback(host: str) -> bool:
    """Whether this name or address means this machine, and no other can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _bound_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UnavailableError(f"Cannot listen on {host}:{port}: {error.strerror}.") from error
    return listener


def _config(listener: socket.socket) -> Config:
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.backlog = _BACKLOG
    config.accesslog = config.errorlog = None
    config.graceful_timeout = 0
    # Trajectories think and work between two requests; none should pay for a new connection.
    config.keep_alive_timeout = 600
    config.keep_alive_max_requests = 2**31
    return config
