"""Answers: JSON, and streams of server-sent events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

SSE: Final = "text/event-stream"
KEEP_ALIVE_S: Final = 15.0
"""Proxies close what is silent; a comment is none of the stream's events."""


def json_bytes(value: Any) -> bytes:
    """JSON of what handlers answer with."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)


def _plain(value: Any) -> Any:
    """Any mapping may stand where JSON wants an object; bytes and the like are told as text."""
    return dict(value) if isinstance(value, Mapping) else str(value)


def json_response(value: Any, *, status: int = 200) -> Response:
    """A JSON answer."""
    return json_body(json_bytes(value), status=status)


def json_body(body: bytes, *, status: int = 200) -> Response:
    """A JSON answer that is bytes already."""
    return Response(body, status_code=status, media_type="application/json")


def sse_event(name: str, value: Any, *, event_id: int | None = None) -> bytes:
    """One server-sent event. JSON has no newlines, so that it is one line of data."""
    head = b"" if event_id is None else b"id: %d\n" % event_id
    return head + b"event: " + name.encode() + b"\ndata: " + json_bytes(value) + b"\n\n"


Emit = Callable[[bytes], Awaitable[None]]
"""Sends one event; waits while the client does not take it."""


class EventStreamResponse(Response):
    """Sends events as they come.

    Starlette's own streaming needs a task group of another library, to watch for what our guard watches for.

    Args:
        produce: is given an :data:`Emit`, and ends when there is nothing more to tell.
        until: ends the stream, for instance because the server is asked to stop.
    """

    media_type = SSE

    def __init__(self, produce: Callable[[Emit], Awaitable[None]], *, until: trio.Event) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        # Computed for the empty body that a stream does not have.
        del self.headers["content-length"]
        self._produce = produce
        self._until = until

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all. Cancellation: *poisons* the connection."""
        lock = trio.Lock()

        async def emit(data: bytes) -> None:
            async with lock:
                await send({"type": "http.response.body", "body": data, "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end, self._until, nursery.cancel_scope)
            nursery.start_soon(_keep_alive, emit)
            await self._produce(emit)
            nursery.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _end(until: trio.Event, scope: trio.CancelScope) -> None:
    await until.wait()
    scope.cancel()


async def _keep_alive(emit: Emit) -> None:
    while True:
        await trio.sleep(KEEP_ALIVE_S)
        await emit(b": still here\n\n")
