"""The ancestor's design as an arm, written anew from its semantics so that both can be measured in one run.

What it keeps, because it is what is compared: a queue, a window of 20 ms from the first call, at most 200
calls a batch; the loop awaits each batch before it looks at the queue again; calls grouped by limit, group
after group; one ``POST /batch`` a group, answered when its slowest call has ended; a server that runs each
``bash`` through bubblewrap and touches files directly. What it leaves out, because it costs time and is not
compared: Nomad, stateful shells, artifacts, external tools, schema lookups, retries. Both leave the arm no
slower than the original.

asyncio and aiohttp, as there. This package is the only place of the project in which asyncio is allowed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.arms.ancestor.client import open_client
from benchmarks.arms.ancestor.executor import AncestorConfig, AncestorExecutor, open_ancestor_executor
from benchmarks.arms.base import Arm, ArmOptions, CallerSettings, Execute, OpenArm, Runtime
from benchmarks.arms.commands import find_bwrap
from benchmarks.arms.server_child import open_server


class OpenAncestor(OpenArm):
    """A sandbox server that serves, and how many slots it has."""

    def __init__(self, url: str, slots: int, *, allow_network: bool) -> None:
        self._url = url
        self._slots = slots
        self._allow_network = allow_network

    @asynccontextmanager
    async def open_caller(self, settings: CallerSettings) -> AsyncIterator[Execute]:
        """An executor with its own HTTP session.

        Cancellation: *abandons* the batch under way.
        """
        config = AncestorConfig(
            batch_window_ms=_or(settings.batch_window_ms, 20),
            max_batch_size=int(_or(settings.max_batch_size, 200)),
            allow_network=self._allow_network,
        )
        slots = tuple(f"slot_{index}" for index in range(self._slots))
        async with (
            open_client(self._url) as client,
            open_ancestor_executor(client, slots, config) as executor,
        ):
            yield executor.execute


class Ancestor(Arm):
    """See the package."""

    name = "ancestor"
    runtime = Runtime.ASYNCIO
    tools = frozenset({"bash", "read_file", "write_file"})

    def missing(self) -> str | None:
        """It would run without bubblewrap, and then be compared for what it is not."""
        return None if find_bwrap() else "bubblewrap is not installed; on Debian: apt-get install bubblewrap"

    @asynccontextmanager
    async def open(self, options: ArmOptions) -> AsyncIterator[OpenArm]:
        """Starts the sandbox server in a process of its own.

        Cancellation: *shielded, at most 5 s*: the server is stopped before the block is left.
        """
        async with open_server("benchmarks.arms.ancestor.server", [str(options.slots)]) as url:
            yield OpenAncestor(url, options.slots, allow_network=options.allow_network)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def make_arm() -> Arm:
    """For the registry of arms."""
    return Ancestor()


__all__ = ["Ancestor", "AncestorExecutor", "make_arm"]
