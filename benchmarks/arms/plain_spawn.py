"""``posix_spawn`` of bash in the caller's own process: no sandbox, no daemon, no wire. The floor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.arms.base import Arm, ArmOptions, OpenArm
from benchmarks.arms.commands import plain_argv
from benchmarks.arms.spawn import SpawnArm, missing_pidfd


class PlainSpawn(Arm):
    """See the module."""

    name = "plain_spawn"

    def missing(self) -> str | None:
        """Why it cannot run here."""
        return missing_pidfd()

    @asynccontextmanager
    async def open(self, options: ArmOptions) -> AsyncIterator[OpenArm]:
        """Nothing to start.

        Cancellation: *atomic*.
        """
        yield SpawnArm(lambda trajectory_id, command: plain_argv(command))


def make_arm() -> Arm:
    """For the registry of arms."""
    return PlainSpawn()
