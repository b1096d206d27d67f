"""The same sandboxed command spawned directly: bubblewrap under the slot's own uid, no daemon, no wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.arms.base import Arm, ArmOptions, OpenArm
from benchmarks.arms.commands import find_bwrap, sandboxed_argv
from benchmarks.arms.spawn import SpawnArm, missing_pidfd
from benchmarks.arms.workspaces import open_workspaces

NO_BWRAP = "bubblewrap is not installed; on Debian: apt-get install bubblewrap"


class BwrapSpawn(Arm):
    """See the module."""

    name = "bwrap_spawn"

    def missing(self) -> str | None:
        """Why it cannot run here."""
        return missing_pidfd() if find_bwrap() else NO_BWRAP

    @asynccontextmanager
    async def open(self, options: ArmOptions) -> AsyncIterator[OpenArm]:
        """Makes the workspaces.

        Cancellation: *atomic*.
        """
        with open_workspaces(options.slots) as workspaces:

            def make_argv(trajectory_id: str, command: str) -> list[str]:
                path, uid = workspaces.of(trajectory_id)
                return sandboxed_argv(command, workspace=path, uid=uid, allow_network=options.allow_network)

            yield SpawnArm(make_argv)


def make_arm() -> Arm:
    """For the registry of arms."""
    return BwrapSpawn()
