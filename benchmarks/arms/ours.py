"""This project: the local backend's daemon, and an executor in the driver's process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import hermes_trio as ht
from benchmarks.arms.base import Arm, ArmOptions, CallerSettings, Execute, OpenArm
from benchmarks.lib.load import CallOutcome


class OpenOurs(OpenArm):
    """A backend whose daemon serves."""

    def __init__(self, backend: ht.Backend, *, allow_network: bool) -> None:
        self._backend = backend
        self._allow_network = allow_network

    @asynccontextmanager
    async def open_caller(self, settings: CallerSettings) -> AsyncIterator[Execute]:
        """An executor with these settings.

        Cancellation: *shielded, at most 12 s*: slots are given back, wiped.
        """
        async with ht.open_executor(self._backend, config=self._config(settings)) as executor:

            async def execute(
                trajectory_id: str, tool: str, arguments: Mapping[str, Any], limit_s: float
            ) -> CallOutcome:
                call = ht.ToolCall(name=tool, arguments=arguments)
                return judge(await executor.execute(trajectory_id, call, limit_s=limit_s))

            yield execute

    def _config(self, settings: CallerSettings) -> ht.ExecutorConfig:
        chosen: dict[str, Any] = {"allow_network": self._allow_network}
        if settings.batch_window_ms is not None:
            chosen["batch_window_ms"] = settings.batch_window_ms
        if settings.max_batch_size is not None:
            chosen["max_batch_size"] = settings.max_batch_size
        return ht.ExecutorConfig(**chosen)


def judge(result: ht.ToolResult) -> CallOutcome:
    """Failures are grouped by who failed and what was said."""
    return CallOutcome(
        ok=result.success, reason="" if result.success else f"{result.provenance}: {result.error}"
    )


class Ours(Arm):
    """See the module."""

    name = "ours"
    tools = frozenset({"bash", "read_file", "write_file"})

    @asynccontextmanager
    async def open(self, options: ArmOptions) -> AsyncIterator[OpenArm]:
        """Starts the daemon.

        Cancellation: *shielded, at most 15 s*: the daemon is stopped before the block is left.
        """
        isolation = cast("Any", options.isolation)
        async with ht.open_local_backend(slots=options.slots, isolation=isolation) as backend:
            yield OpenOurs(backend, allow_network=options.allow_network)


def make_arm() -> Arm:
    """For the registry of arms."""
    return Ours()
