"""The ancestor's tool-executor server: FastAPI on uvicorn before its executor, aiohttp and sandbox server.

The sandbox server lives as long as the arm. The FastAPI server is what a caller opens: its batch window is
one of the settings that are compared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec

from benchmarks.arms.base import Arm, ArmOptions, CallerSettings, Execute, OpenArm
from benchmarks.arms.bwrap_spawn import NO_BWRAP
from benchmarks.arms.commands import find_bwrap
from benchmarks.arms.http_calls import open_http_calls
from benchmarks.lib.children import open_child
from benchmarks.lib.converter import to_line

_PACKAGES = ("aiohttp", "fastapi", "uvicorn")


class OpenHttpAncestor(OpenArm):
    """A sandbox server that serves."""

    def __init__(self, sandbox_url: str, options: ArmOptions) -> None:
        self._sandbox_url = sandbox_url
        self._options = options

    @asynccontextmanager
    async def open_caller(self, settings: CallerSettings) -> AsyncIterator[Execute]:
        """Starts the FastAPI server with these settings, and opens a client of it.

        Cancellation: *shielded, at most 36 s*: the server is stopped before the block is left.
        """
        words = [self._sandbox_url, to_line(self._options).decode(), to_line(settings).decode()]
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(
                open_child("benchmarks.arms.ancestor.http_server", words)
            )
            url = (await server.read_line()).decode()
            yield await stack.enter_async_context(open_http_calls(url))


class HttpAncestor(Arm):
    """See the module."""

    name = "http_ancestor"
    tools = frozenset({"bash", "read_file", "write_file"})

    def missing(self) -> str | None:
        """Why it cannot run here."""
        lacking = [name for name in _PACKAGES if find_spec(name) is None]
        if lacking:
            return f"{lacking[0]} is not installed; pip install 'hermes-trio[bench]'"
        return None if find_bwrap() else NO_BWRAP

    @asynccontextmanager
    async def open(self, options: ArmOptions) -> AsyncIterator[OpenArm]:
        """Starts the sandbox server in a process of its own.

        Cancellation: *shielded, at most 36 s*: the server is stopped before the block is left.
        """
        async with open_child("benchmarks.arms.ancestor.server", [str(options.slots)]) as sandboxes:
            port = int(await sandboxes.read_line())
            yield OpenHttpAncestor(f"http://127.0.0.1:{port}", options)


def make_arm() -> Arm:
    """For the registry of arms."""
    return HttpAncestor()
