"""An MCP server behind streamable HTTP, with a bound on what one request is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from mcp.client._transport import TransportStreams
from mcp.client.streamable_http import streamable_http_client

from hermes_trio.tools.mcp.config import McpLimits, McpUrl

_CONNECT_S = 10.0


@asynccontextmanager
async def open_url(place: McpUrl, *, limits: McpLimits) -> AsyncIterator[TransportStreams]:
    """The server's messages, both ways, for the SDK.

    Cancellation: *abandons*: the connections are closed.
    """
    # How long an answer may take is the call's limit, a cancel scope around it.
    client = httpx2.AsyncClient(
        headers=dict(place.headers),
        timeout=httpx2.Timeout(None, connect=_CONNECT_S),
        transport=_BoundedTransport(limits.max_message_bytes),
        trust_env=False,
    )
    async with (
        client,
        streamable_http_client(
            place.url, http_client=client, max_sse_event_size=limits.max_message_bytes
        ) as streams,
    ):
        yield streams


class _BoundedTransport(httpx2.AsyncHTTPTransport):
    def __init__(self, max_bytes: int) -> None:
        super().__init__(limits=httpx2.Limits(max_connections=None, max_keepalive_connections=8))
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _BoundedStream(response.stream, self._max_bytes)
        return response


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, max_bytes: int) -> None:
        self._stream = stream
        self._chunks = aiter(stream)
        self._max_bytes = max_bytes
        self._received = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await anext(self._chunks)
        self._received += len(chunk)
        if self._received > self._max_bytes:
            raise httpx2.ReadError(f"the answer is longer than {self._max_bytes} bytes")
        return chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
