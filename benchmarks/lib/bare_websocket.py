"""The websocket library alone: how fast do chunks go through it, with nothing around it?

``python -m benchmarks.lib.bare_websocket`` is the far end: prints its port, and ends when its input does. It
takes or gives as many chunks as the path says. No session, no credit, no files, no digests: a ceiling for
whatever is built on the library as it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    open_websocket,
    serve_websocket,
)

from benchmarks.lib.children import open_child

CHUNK_BYTES = 256 * 1024
"""As our own transfers send them."""
_BUFFER_BYTES = 256 * 1024
_UP, _DOWN = "up", "down"


@asynccontextmanager
async def open_bare_server() -> AsyncIterator[int]:
    """The far end in a process of its own; its port.

    Cancellation: *shielded, at most 36 s*: the process is stopped first.
    """
    async with open_child("benchmarks.lib.bare_websocket") as child:
        yield int(await child.read_line())


async def measure_bare(port: int, direction: str, mebibytes: int) -> float:
    """Bytes a second, ``up`` or ``down``.

    Cancellation: *abandons*.
    """
    count = mebibytes * 1024 * 1024 // CHUNK_BYTES
    opened = open_websocket(
        "127.0.0.1",
        port,
        f"/{direction}/{count}",
        use_ssl=False,
        max_message_size=CHUNK_BYTES,
        receive_buffer_size=_BUFFER_BYTES,
    )
    async with opened as connection:
        began = time.perf_counter()
        if direction == _UP:
            await _give(connection, count)
            await connection.get_message()
        else:
            await _take(connection, count)
        return count * CHUNK_BYTES / (time.perf_counter() - began)


async def _give(connection: WebSocketConnection, count: int) -> None:
    await trio.lowlevel.checkpoint()
    chunk = os.urandom(CHUNK_BYTES)
    for _ in range(count):
        await connection.send_message(chunk)


async def _take(connection: WebSocketConnection, count: int) -> None:
    await trio.lowlevel.checkpoint()
    for _ in range(count):
        await connection.get_message()


async def _answer(request: WebSocketRequest) -> None:
    _, direction, count = request.path.split("/")
    connection = await request.accept()
    if direction == _UP:
        await _take(connection, int(count))
        await connection.send_message(b"all")
    else:
        await _give(connection, int(count))
    with suppress(
        ConnectionClosed
    ):  # its client leaves the socket open when the server is the first to close
        await connection.get_message()


async def _serve_until_input_ends() -> None:
    serve = partial(
        serve_websocket,
        *(_answer, "127.0.0.1", 0, None),
        max_message_size=CHUNK_BYTES,
        receive_buffer_size=_BUFFER_BYTES,
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve)
        print(server.port, flush=True)
        await trio.lowlevel.wait_readable(0)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    os.set_blocking(0, False)
    trio.run(_serve_until_input_ends)
