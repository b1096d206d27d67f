"""This project behind HTTP: ``hermes-trio serve`` in a process of its own, with real slots."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import orjson

from benchmarks.arms.base import Arm, ArmOptions, CallerSettings, Execute, OpenArm
from benchmarks.arms.http_calls import open_http_calls
from benchmarks.lib.children import open_child


class OpenServe(OpenArm):
    """A server that serves."""

    def __init__(self, url: str) -> None:
        self._url = url

    def open_caller(self, settings: CallerSettings) -> AbstractAsyncContextManager[Execute]:
        """A client. How calls are batched is the server's, and its default is measured."""
        return open_http_calls(self._url)


class HttpOurs(Arm):
    """See the module."""

    name = "http_ours"
    tools = frozenset({"bash", "read_file", "write_file"})

    @asynccontextmanager
    async def open(self, options: ArmOptions) -> AsyncIterator[OpenArm]:
        """Starts the server.

        Cancellation: *shielded, at most 36 s*: the server is stopped before the block is left.
        """
        words = ["--port", "0", "--json", "--slots", str(options.slots), "--isolation", options.isolation]
        network = "true" if options.allow_network else "false"
        async with open_child("benchmarks.arms.http_ours_server", [network, *words]) as child:
            yield OpenServe(orjson.loads(await child.read_line())["url"])


def make_arm() -> Arm:
    """For the registry of arms."""
    return HttpOurs()
