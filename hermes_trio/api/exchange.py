"""One request and its answer, between hypercorn's protocol and an ASGI application.

Theory of operation. The connection's reader puts what comes into the exchange, the application takes it from
there, and no task stands between them. Once the answer has begun the rest of the body is thrown away, so that
the reader is never stuck behind an application that has answered, or ended, without reading. When the client
leaves, the exchange's scope is cancelled: a tool call that nobody waits for is ended at its daemon.

A websocket passes through to its route: its frames are its own business.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from hermes_trio.api.guard import AsgiApp, Message, Send
from hermes_trio.api.problems import ProblemError, problem_response
from hermes_trio.telemetry.log import get_logger

logger = get_logger(__name__)

AppSend = Callable[[Message | None], Awaitable[None]]
"""Hypercorn's: takes what an application sends, and ``None`` when it is over."""
_PIECES: Final = 2
"""Of a body that may wait for the application: backpressure begins early."""


class ExchangeTasks:
    """The exchanges of one connection, as tasks; what hypercorn calls a task group.

    Args:
        app: answers the requests.
        nursery: of the connection.
    """

    def __init__(self, app: AsgiApp, nursery: trio.Nursery) -> None:
        self._app, self._nursery = app, nursery

    async def spawn_app(self, _app: Any, _config: Any, scope: Message, send: AppSend) -> Send:
        """A request, or a websocket, has begun. Called by hypercorn.

        Cancellation: atomic; it does not wait.

        Returns:
            Takes what the connection says of it.
        """
        kind = _HttpExchange if scope["type"] == "http" else _Exchange
        exchange = kind(self._app, scope, send)
        self._nursery.start_soon(exchange.run)
        return exchange.put  # noqa: ASYNC910 - see connection.py

    def spawn(self, task: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Run a task of hypercorn's own: pings of a websocket."""
        self._nursery.start_soon(task, *args)


class _Exchange:
    """A websocket, and what a request shares with it."""

    def __init__(self, app: AsgiApp, scope: Message, send: AppSend) -> None:
        self._app, self._scope, self._send_on = app, scope, send
        self._pieces, self._body = trio.open_memory_channel[Message](_PIECES)
        self._answered = False

    async def run(self) -> None:
        """Serve it. Cancellation: *poisons* the connection."""
        try:
            await self._serve()
        except Exception:
            # The boundary where a crash in one request stays that request's. An answered one was logged.
            if not self._answered:
                logger.exception("a request crashed unanswered", path=self._scope["path"])
        self._body.close()
        await self._send_on(None)

    async def put(self, message: Message) -> None:  # noqa: ASYNC910 - see connection.py
        """Something came. Waits while two pieces are waiting; what nobody reads any more is thrown away.

        Cancellation: atomic.
        """
        with contextlib.suppress(trio.BrokenResourceError):
            await self._pieces.send(message)

    async def _serve(self) -> None:
        await self._app(self._scope, self._body.receive, self._send_on)


class _HttpExchange(_Exchange):
    def __init__(self, app: AsgiApp, scope: Message, send: AppSend) -> None:
        super().__init__(app, scope, send)
        self._wanted = trio.CancelScope()

    async def put(self, message: Message) -> None:  # noqa: ASYNC910 - see connection.py
        """A piece of the body came, or the client left; see above."""
        if message["type"] != "http.disconnect":
            await super().put(message)
        elif not self._answered:  # hypercorn says it at a good end too, while the last send is still busy
            self._wanted.cancel()

    async def _serve(self) -> None:
        app = self._app if self._scope["http_version"] in ("1.0", "1.1") else _HTTP_2_IS_OFF
        with self._wanted:
            await app(self._scope, self._receive, self._send)

    async def _receive(self) -> Message:
        try:
            return await self._body.receive()
        except trio.ClosedResourceError:
            await trio.sleep_forever()  # it has answered, and waits for the client to leave: that cancels it

    async def _send(self, message: Message) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()  # what follows is shielded, if its client left
        if message["type"] == "http.response.start":
            self._body.close()
        elif message["type"] == "http.response.body":
            self._answered = not message.get("more_body", False)
        await self._send_on(message)


_HTTP_2_IS_OFF: Final = problem_response(ProblemError(505, "HTTP/1.1 is spoken here"))
"""Answers the preface of HTTP/2."""
