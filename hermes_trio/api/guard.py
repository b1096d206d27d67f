"""ASGI middleware around everything: who may come in, and what becomes of a request whose client has left.

Theory of operation. One task a request takes whatever the connection has to say, always, so that hypercorn's
reader is never stuck behind an application that has answered without reading (its queue is bounded, and so
is the news that a request is over). What it takes goes, one piece at a time, to whoever reads the body; once
the answer has begun the rest of the body is thrown away. When the client leaves, the request's scope is
cancelled: a tool call that nobody waits for is ended at its daemon.

A websocket passes through to its route: its frames are its own business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import trio

from hermes_trio.api.problems import ProblemError, problem_response
from hermes_trio.link.asgi import is_loopback

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Message, Receive, Send], Awaitable[None]]


class RequestGuard:
    """Wraps an ASGI application, see the module.

    Args:
        app: what it wraps.
    """

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request. Cancellation: *abandons* what it does."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["http_version"] not in ("1.0", "1.1"):  # the preface of HTTP/2, which is off
            await problem_response(ProblemError(505, "HTTP/1.1 is spoken here"))(scope, receive, send)
            return
        async with trio.open_nursery() as nursery:
            request = _Request(receive, send, nursery.cancel_scope)
            nursery.start_soon(request.take_all)
            await self._app(scope, request.receive, request.send)
            nursery.cancel_scope.cancel()


class _Request:
    """What has come of one request."""

    def __init__(self, receive: Receive, send: Send, scope: trio.CancelScope) -> None:
        self._receive, self._send, self._scope = receive, send, scope
        self._pieces, self._body = trio.open_memory_channel[Message](0)
        self._answered = False

    async def take_all(self) -> None:
        """Take what the connection says, until it says that the client is gone."""
        await trio.lowlevel.checkpoint()
        while (message := await self._receive())["type"] != "http.disconnect":
            try:
                await self._pieces.send(message)
            except trio.BrokenResourceError:
                continue  # the answer has begun: nobody reads the rest
        # Hypercorn says the same at a good end, while the last send is still busy with the connection.
        if not self._answered:
            self._scope.cancel()

    async def receive(self) -> Message:
        """The next piece of the body, for the application.

        Cancellation: atomic.
        """
        try:
            return await self._body.receive()
        except trio.ClosedResourceError:
            await trio.sleep_forever()  # it has answered, and waits for the client to leave: that cancels it

    async def send(self, message: Message) -> None:
        """Send a piece of the answer, for the application.

        Cancellation: *poisons* the connection.
        """
        if message["type"] == "http.response.start":
            self._body.close()
        elif message["type"] == "http.response.body":
            self._answered = not message.get("more_body", False)
        await self._send(message)


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
