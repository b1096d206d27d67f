"""The driver's loop for arms that run on asyncio; ``lib/driver.py`` says what it answers to."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from benchmarks.arms.asyncio_load import run_load
from benchmarks.arms.base import Arm, ArmOptions, OpenArm
from benchmarks.lib.converter import from_line
from benchmarks.lib.protocol import Reply, ReplyKind, RunRequest

_LINE_BYTES = 8 * 1024 * 1024


def run_driver(arm: Arm, options: ArmOptions, send: Callable[[Reply], None]) -> None:
    """Serves requests until the input ends, which also ends a load under way."""
    asyncio.run(_drive(arm, options, send))


async def _drive(arm: Arm, options: ArmOptions, send: Callable[[Reply], None]) -> None:
    reader = asyncio.StreamReader(limit=_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    requests: asyncio.Queue[RunRequest] = asyncio.Queue(maxsize=1)
    async with arm.open(options) as server:
        send(Reply(kind=ReplyKind.READY))
        reading = asyncio.create_task(_read_requests(reader, requests))
        serving = asyncio.create_task(_serve_requests(server, requests, send))
        # Serving ends only by a crash, and that must not leave the harness waiting for a reply.
        done, pending = await asyncio.wait({reading, serving}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()


async def _read_requests(reader: asyncio.StreamReader, requests: asyncio.Queue[RunRequest]) -> None:
    async for line in reader:
        await requests.put(from_line(line, RunRequest))


async def _serve_requests(
    server: OpenArm, requests: asyncio.Queue[RunRequest], send: Callable[[Reply], None]
) -> None:
    request = await requests.get()
    while True:
        settings = request.settings
        async with server.open_caller(settings) as execute:
            while request.settings == settings:
                send(Reply(kind=ReplyKind.RESULT, result=await run_load(execute, request.load)))
                request = await requests.get()
