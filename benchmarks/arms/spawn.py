"""The physical limits as arms: a process spawned by the caller itself, with nothing between."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.arms.base import CallerSettings, Execute, OpenArm
from benchmarks.arms.spawning import Finished, run_process
from benchmarks.lib.load import CallOutcome

MakeArgv = Callable[[str, str], list[str]]
"""From trajectory id and command to the argument vector."""


def judge(finished: Finished | None) -> CallOutcome:
    """An arm's calls are all expected to exit with 0."""
    if finished is None:
        return CallOutcome(ok=False, reason="limit")
    return CallOutcome(ok=finished.exit_code == 0, reason=f"exit code {finished.exit_code}")


class SpawnArm(OpenArm):
    """Runs every ``bash`` call as one process; knows no other tool."""

    def __init__(self, make_argv: MakeArgv) -> None:
        self._make_argv = make_argv

    @asynccontextmanager
    async def open_caller(self, settings: CallerSettings) -> AsyncIterator[Execute]:
        """There is nothing to open, and nothing to set.

        Cancellation: *atomic*.
        """
        yield self._execute

    async def _execute(
        self, trajectory_id: str, tool: str, arguments: Mapping[str, Any], limit_s: float
    ) -> CallOutcome:
        argv = self._make_argv(trajectory_id, arguments["command"])
        return judge(await run_process(argv, limit_s=limit_s))


def missing_pidfd() -> str | None:
    """Pidfds are as old as Linux 5.3; a Python built elsewhere may lack the call."""
    return None if hasattr(os, "pidfd_open") else "this Python has no os.pidfd_open (Linux 5.3)"
