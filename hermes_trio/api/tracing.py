"""A span for each request that does something, below the one that its ``traceparent`` names."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from hermes_trio.api.guard import AsgiApp, Message, Receive, Send
from hermes_trio.telemetry import traces

_SILENT: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Looking is not worth a span: a console and a scraper ask for ever."""


class TracedRequests:
    """Wraps an ASGI application. What the request's task does is below its span.

    Args:
        app: what it wraps.
        paths: those that a span is named by.
    """

    def __init__(self, app: AsgiApp, *, paths: Collection[str]) -> None:
        self._app = app
        self._paths = frozenset(paths)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request. Cancellation: *abandons* what it does."""
        if scope["type"] != "http" or scope["method"] in _SILENT:
            await self._app(scope, receive, send)
            return
        method = scope["method"][: traces.MAX_NAME]
        route = scope["path"] if scope["path"] in self._paths else ""
        attributes = {"http.request.method": method, "url.scheme": scope.get("scheme", "http")}
        with traces.running(
            f"{method} {route}".strip(),
            kind=traces.SpanKind.SERVER,
            parent=_traceparent(scope),
            attributes=attributes | ({"http.route": route} if route else {}),
        ) as span:

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _note_status(span, message["status"])
                await send(message)

            await self._app(scope, receive, told)


def _traceparent(scope: Message) -> str | None:
    """The header, if there is exactly one (W3C Trace Context, section 3.2)."""
    told = [value for name, value in scope.get("headers", ()) if name.lower() == b"traceparent"]
    return told[0].decode("latin1").strip() if len(told) == 1 else None


def _note_status(span: traces.Span, status: int) -> None:
    if span.is_recording():
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            traces.fail(span, str(status))
