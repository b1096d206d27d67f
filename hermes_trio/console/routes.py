"""The console's routes, for whoever serves HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute, Route, WebSocketRoute

from hermes_trio.console.hub import ConsoleHub
from hermes_trio.console.pages import serve_page, serve_part
from hermes_trio.console.socket import ConsoleSocket
from hermes_trio.link.auth import TokenGate


def console_routes(hub: ConsoleHub, *, gate: TokenGate | None) -> Sequence[BaseRoute]:
    """``/console``, its parts below it, and its websocket ``/console/ws``.

    The page and its parts hold nothing of the executor's and need no token; the websocket asks for it.

    Args:
        hub: what is shown.
        gate: of tokens; ``None``: none is asked for.
    """
    socket = ConsoleSocket(hub, gate)
    return (
        Route("/console", serve_page, methods=["GET"]),
        WebSocketRoute("/console/ws", socket.serve),
        Route("/console/{name}", serve_part, methods=["GET"]),
    )
