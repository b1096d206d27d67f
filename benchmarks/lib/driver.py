"""The program in which one arm's caller runs: ``python -m benchmarks.lib.driver ARM OPTIONS``.

Every arm gets such a process of its own, whatever its event loop, so that no arm pays for another's garbage,
threads or imports. Requests come on standard input, replies leave on what was standard output; anything else
that prints lands on standard error. The process ends when its input does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import assert_never

import trio

from benchmarks.arms import load_arm
from benchmarks.arms.base import Arm, ArmOptions, OpenArm, Runtime
from benchmarks.lib.children import LineReader
from benchmarks.lib.converter import from_line, to_line
from benchmarks.lib.protocol import Reply, ReplyKind, RunRequest
from benchmarks.lib.trio_load import run_load
from hermes_trio.errors import UnavailableError

Send = Callable[[Reply], None]


def main() -> None:
    """Opens the arm named on the command line and serves requests until the input ends."""
    name, options_line = sys.argv[1:]
    options = from_line(options_line.encode(), ArmOptions)
    send = take_over_stdout()
    try:
        arm = load_arm(name)
    except ImportError as error:
        send(Reply(kind=ReplyKind.UNAVAILABLE, text=f"{error}; pip install 'hermes-trio[bench]'"))
        return
    missing = arm.missing()
    if missing is not None:
        send(Reply(kind=ReplyKind.UNAVAILABLE, text=missing))
        return
    try:
        _run(arm, options, send)
    except UnavailableError as error:
        send(Reply(kind=ReplyKind.UNAVAILABLE, text=str(error)))


def _run(arm: Arm, options: ArmOptions, send: Send) -> None:
    match arm.runtime:
        case Runtime.TRIO:
            trio.run(drive, arm, options, send)
        case Runtime.ASYNCIO:
            from benchmarks.arms.asyncio_driver import run_driver

            run_driver(arm, options, send)
        case never:
            assert_never(never)


def take_over_stdout() -> Send:
    """Keeps the reply pipe to ourselves: a stray print of an arm would be read as a reply."""
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def send(reply: Reply) -> None:
        replies.write(to_line(reply))

    return send


async def drive(arm: Arm, options: ArmOptions, send: Send) -> None:
    """Serves requests one after another until the input ends, which also ends a load under way.

    Cancellation: *abandons* the load under way.
    """
    async with arm.open(options) as server, trio.open_nursery() as nursery:
        send(Reply(kind=ReplyKind.READY))
        driver = _TrioDriver(server, send)
        nursery.start_soon(driver.read_requests)
        await driver.serve_requests()


class _TrioDriver:
    """Reads requests beside the load, so that the end of the input is seen while a load runs."""

    def __init__(self, server: OpenArm, send: Send) -> None:
        self._server = server
        self._send = send
        self._into, self._requests = trio.open_memory_channel[RunRequest](0)
        self._running = trio.CancelScope()

    async def read_requests(self) -> None:
        """Hands on what comes in; its end ends the load under way.

        Cancellation: *atomic*.
        """
        reader = LineReader(trio.lowlevel.FdStream(os.dup(0)))
        async with self._into:
            while (line := await reader.read_line()) is not None:
                await self._into.send(from_line(line, RunRequest))
        self._running.cancel()

    async def serve_requests(self) -> None:
        """Answers requests until there are no more.

        Cancellation: *abandons* the load under way.
        """
        request = await self._next_request()
        while request is not None:
            request = await self._serve_same_settings(request)

    async def _serve_same_settings(self, request: RunRequest | None) -> RunRequest | None:
        """One caller for all requests that want the same; returns the first that wants something else."""
        assert request is not None
        settings = request.settings
        async with self._server.open_caller(settings) as execute:
            while request is not None and request.settings == settings:
                self._running = trio.CancelScope()
                with self._running:
                    result = await run_load(execute, request.load)
                    self._send(Reply(kind=ReplyKind.RESULT, result=result))
                request = await self._next_request()
        return request

    async def _next_request(self) -> RunRequest | None:
        try:
            return await self._requests.receive()
        except trio.EndOfChannel:
            await trio.lowlevel.checkpoint()
            return None


if __name__ == "__main__":
    main()
