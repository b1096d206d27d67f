"""Workspaces as files: taken out of one slot, put into another, of whichever daemon."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import trio
from attrs import frozen

from hermes_trio.errors import RemoteProtocolError, SlotStateError
from hermes_trio.executor.files import NO_SLOT
from hermes_trio.executor.local_files import Local, naming, open_local
from hermes_trio.executor.transfer import LIMIT_S, TransferMethods
from hermes_trio.executor.workspaces import BaseId, WorkspaceMethods, unwrapped
from hermes_trio.fleet.calls import CallRecord
from hermes_trio.wire.operations import Operation


@frozen(kw_only=True)
class WorkspaceArchive:
    """A workspace's archive, as it was made or restored.

    Args:
        size: in bytes.
        sha256: of all of it; the same at both ends.
        base: what the workspace stands on, and what is not in the archive; ``None``: nothing.
        entries: files, folders, links, and names of the base that are gone.
    """

    size: int
    sha256: str
    base: BaseId | None
    entries: int


class ArchiveMethods(TransferMethods, WorkspaceMethods):
    """Mixed into the executor, which brings the road."""

    async def snapshot_workspace(
        self, trajectory_id: str, local_path: str | os.PathLike[str], *, limit_s: float = LIMIT_S
    ) -> WorkspaceArchive:
        """Save a trajectory's workspace in a file of this machine: what differs from its base, compressed.

        Names, contents, modes, times, links of both kinds, holes and ``user.`` attributes are in it.
        Processes are not; what still runs in the slot is ended. The file appears when all of it has come and
        its SHA-256 is right. Memory does not depend on the size.

        Cancellation: abandons; no file appears, and the workspace is as it was.

        Args:
            trajectory_id: whose workspace; it must have a slot.
            local_path: on this machine; a file that is there is replaced.
            limit_s: seconds it may take; the default is a day.

        Raises:
            ClosedError: the executor was closed.
            InvalidInputError: the local file cannot be written.
            LostError: the slot is gone.
            SlotStateError: the trajectory has no slot.
            UnavailableError: the daemon could not do it.
        """
        if not self.has_slot(trajectory_id):
            await trio.lowlevel.checkpoint()
            raise SlotStateError(NO_SLOT, field="trajectory_id")
        local = Path(local_path)
        partial_path = local.with_name(local.name + ".part")
        try:
            async with open_local(partial_path, "wb") as target:
                record = await self.pull(
                    Operation.SLOT_SNAPSHOT, trajectory_id, target, arguments={}, limit_s=limit_s
                )
                archive = _archive_of(record, target)
            with naming(local):
                await trio.to_thread.run_sync(os.replace, partial_path, local)
        except BaseException:
            partial_path.unlink(missing_ok=True)
            raise
        return archive

    async def restore_workspace(
        self, trajectory_id: str, local_path: str | os.PathLike[str], *, limit_s: float = LIMIT_S
    ) -> WorkspaceArchive:
        """Begin a trajectory's workspace with one that was saved.

        What it had is gone, and what ran there is ended. The daemon need not be the one that made the
        archive; the base that the archive names must be there, and a trajectory that has a base already must
        have that one. An archive that is no good is refused, and leaves the workspace as it was, or as
        :meth:`reset` does.

        Cancellation: abandons; the workspace is as it was, or as a reset leaves it.

        Args:
            trajectory_id: whose workspace; one without a slot gets one first.
            local_path: of a file that :meth:`snapshot_workspace` made.
            limit_s: seconds it may take; the default is a day.

        Raises:
            ClosedError: the executor was closed.
            InvalidInputError: the file cannot be read, is no whole archive, or stands on another base.
            LostError: the slot is gone.
            UnavailableError: the daemon has not the archive's base, or not enough room; or the trajectory is
                quiet for its verifier.
        """
        self._check_loud(trajectory_id)
        async with open_local(Path(local_path), "rb") as source:
            record = await self.push(
                Operation.SLOT_RESTORE, trajectory_id, source, arguments={}, limit_s=limit_s
            )
        return _archive_of(record, source)


def _archive_of(record: CallRecord, local: Local) -> WorkspaceArchive:
    """What the daemon tells of an archive, if both ends have the same."""
    data: Any = unwrapped(record).data
    ours, theirs = local.digest.hex(), data.get("sha256")
    if ours != theirs:
        raise RemoteProtocolError(f"the SHA-256 here is {ours}, there {theirs}", path="sha256")
    return WorkspaceArchive(size=local.size, sha256=ours, base=data["base"], entries=data["entries"])
