"""ASGI middleware around everything: who may come in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from hermes_trio.api.problems import ProblemError, problem_response
from hermes_trio.link.asgi import is_loopback

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Message, Receive, Send], Awaitable[None]]


class OriginGuard:
    """Keeps web pages of other sites out: a browser on this machine is not the user's word for it.

    A page may send simple requests anywhere, and by a name of its own that is made to mean 127.0.0.1 it may
    read the answers too. So an ``Origin`` must be the host that was asked, and without a token that host must
    be this machine's own name.

    Args:
        app: what it wraps.
        has_token: clients present one, which a page of somebody else does not have.
    """

    def __init__(self, app: AsgiApp, *, has_token: bool) -> None:
        self._app = app
        self._has_token = has_token

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request or websocket. Cancellation: *abandons* what it does."""
        refusal = origin_refusal(_headers(scope), has_token=self._has_token)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await problem_response(ProblemError(403, refusal))(scope, receive, send)


def _headers(scope: Message) -> dict[str, str]:
    return {name.decode("latin1").lower(): value.decode("latin1") for name, value in scope.get("headers", ())}


def origin_refusal(headers: Mapping[str, str], *, has_token: bool) -> str | None:
    """Why a request may not come in; ``None``: it may.

    Args:
        headers: by lower-case names.
        has_token: see :class:`OriginGuard`.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    if not has_token and host and not is_loopback(_name_of(host)):
        return "Without a token, this server answers to the names of this machine only"
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        return "Requests of other sites' pages are not taken"
    return None


def _name_of(host: str) -> str:
    """A ``Host`` without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
