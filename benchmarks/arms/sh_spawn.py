"""``posix_spawn`` of ``sh`` in the caller's own process: how many processes this machine can start at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.arms.base import Arm, ArmOptions, OpenArm
from benchmarks.arms.spawn import SpawnArm, missing_pidfd


class ShSpawn(Arm):
    """See the module."""

    name = "sh_spawn"

    def missing(self) -> str | None:
        """Why it cannot run here."""
        return missing_pidfd()

    @asynccontextmanager
    async def open(self, options: ArmOptions) -> AsyncIterator[OpenArm]:
        """Nothing to start.

        Cancellation: *atomic*.
        """
        yield SpawnArm(lambda trajectory_id, command: ["/bin/sh", "-c", command])


def make_arm() -> Arm:
    """For the registry of arms."""
    return ShSpawn()
