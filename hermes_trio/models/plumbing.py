"""Two places where httpx 0.28 and httpcore 1.0 need help."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import h11
import httpx
import trio


class RequestBody(httpx.AsyncByteStream):
    """A body that can be given up while it is sent.

    httpx's own is an async generator, which a cancelled send leaves behind unfinished; Trio reports that as
    leaked.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Once(self._data)


class _Once(AsyncIterator[bytes]):
    def __init__(self, data: bytes) -> None:
        self._data: bytes | None = data

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        data, self._data = self._data, None
        if data is None:
            raise StopAsyncIteration
        return data


def let_nothing_stay_behind(response: httpx.Response) -> None:
    """Have the connection closed with this answer if bytes were received behind the answer's end.

    httpcore would take them for the answer to the connection's next request: a server that lies about the
    length of one answer, or whoever can make it lie, would speak for another trajectory. To be called before
    the answer is closed, because closing lends the connection out. httpcore 1.0 has no public way; a test
    notices when this one is gone.
    """
    layer: Any = response.stream
    for name in ("_stream", "_httpcore_stream", "_stream", "_connection", "_h11_state"):
        layer = getattr(layer, name, None)
    if isinstance(layer, h11.Connection) and layer.trailing_data[0]:
        layer.send_failed()  # a connection on which sending failed is not used again
