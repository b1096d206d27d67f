"""One HTTP request per call: what a runtime without batching and without a lasting link looks like.

Each trajectory has a client of its own: a pool shared by hundreds rescans its connections for every request
(57 requests/s at 512 in flight), and the arm is to show the design, not that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx

from benchmarks.arms.base import Arm, ArmOptions, CallerSettings, Execute, OpenArm
from benchmarks.arms.bwrap_spawn import NO_BWRAP
from benchmarks.arms.commands import find_bwrap
from benchmarks.arms.spawn import missing_pidfd
from benchmarks.lib.children import open_child
from benchmarks.lib.converter import to_line
from benchmarks.lib.load import CallOutcome

_SLACK_S = 10.0
"""The server ends a command at its limit; the client waits a little longer than that."""


class HttpCaller:
    """Keeps one connection alive for each trajectory."""

    def __init__(self, url: str, clients: AsyncExitStack) -> None:
        self._url = url
        self._clients = clients
        self._client_of: dict[str, httpx.AsyncClient] = {}

    async def execute(
        self, trajectory_id: str, tool: str, arguments: Mapping[str, Any], limit_s: float
    ) -> CallOutcome:
        """One ``POST /execute``.

        Cancellation: *abandons* the command.
        """
        client = await self._client(trajectory_id)
        body = {"trajectory_id": trajectory_id, "command": arguments["command"], "limit_s": limit_s}
        response = await client.post("/execute", json=body, timeout=limit_s + _SLACK_S)
        answer = response.raise_for_status().json()
        return CallOutcome(ok=answer["ok"], reason=answer["reason"])

    async def _client(self, trajectory_id: str) -> httpx.AsyncClient:
        client = self._client_of.get(trajectory_id)
        if client is None:
            client = httpx.AsyncClient(base_url=self._url, verify=False, trust_env=False)
            self._client_of[trajectory_id] = await self._clients.enter_async_context(client)
        return client


class OpenHttp(OpenArm):
    """A server that serves."""

    def __init__(self, url: str) -> None:
        self._url = url

    @asynccontextmanager
    async def open_caller(self, settings: CallerSettings) -> AsyncIterator[Execute]:
        """Connections are opened by the first call of each trajectory.

        Cancellation: *abandons* requests under way.
        """
        async with AsyncExitStack() as clients:
            yield HttpCaller(self._url, clients).execute


class HttpPerCall(Arm):
    """See the module."""

    name = "http_per_call"

    def missing(self) -> str | None:
        """Why it cannot run here."""
        return missing_pidfd() if find_bwrap() else NO_BWRAP

    @asynccontextmanager
    async def open(self, options: ArmOptions) -> AsyncIterator[OpenArm]:
        """Starts the server in a process of its own.

        Cancellation: *shielded, at most 36 s*: the server is stopped before the block is left.
        """
        async with open_child("benchmarks.arms.http_server", [to_line(options).decode()]) as child:
            yield OpenHttp((await child.read_line()).decode())


def make_arm() -> Arm:
    """For the registry of arms."""
    return HttpPerCall()
