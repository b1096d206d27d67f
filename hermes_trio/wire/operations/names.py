"""The names of what a call can ask for."""

from __future__ import annotations

from enum import StrEnum


class Operation(StrEnum):
    """Every operation the protocol knows."""

    SLOT_ACQUIRE = "slot.acquire"
    """Waits for a slot. Result data: :class:`SlotAcquired`."""
    SLOT_RELEASE = "slot.release"
    """Gives a slot back; idempotent. Result data: :class:`SlotReleased`."""
    SLOT_QUIESCE = "slot.quiesce"
    """Answered when nothing runs in the slot any more. Result data: :class:`SlotQuiesced`."""
    SLOT_FORK = "slot.fork"
    """Slots for other trajectories, with copies of this one's workspace. Result data: :class:`SlotForked`."""
    SLOT_RESET = "slot.reset"
    """A fresh workspace, in the same slot. Result data: :class:`SlotResetReport`."""
    SLOT_DIFF = "slot.diff"
    """One page of how the workspace differs from its base. Result data: :class:`SlotDiffReport`; one segment:
    the changes, see ``wire/changes.py``."""
    SLOT_SNAPSHOT = "slot.snapshot"
    """The workspace as an archive, on output frames of stream ``data``; the call must have credit for them.
    Result data: :class:`SlotArchiveReport`."""
    SLOT_RESTORE = "slot.restore"
    """A workspace's archive on input frames, and after it the 32 bytes of its SHA-256. Result data:
    :class:`SlotArchiveReport`."""
    BASE_BUILD = "base.build"
    """Makes a base of the slot's workspace. Result data: :class:`BaseReport`."""
    BASE_LIST = "base.list"
    """The bases of the slot's daemon. Result data: :class:`BaseListReport`."""
    BASE_REMOVE = "base.remove"
    """Forgets a base that nothing stands on. Result data: :class:`BaseReport`."""
    SLOT_STATUS = "slot.status"
    """What runs in a slot now; does not wait for the calls there. Result data: :class:`SlotStatusReport`."""

    BASH = "bash"
    """Result data: :class:`BashReport`; segments: stdout, stderr, as kept. Of a stream that was cut, the
    first ``max_output_bytes // 2`` bytes are its head and the rest its tail."""
    BASH_STATEFUL = "bash_stateful"
    """One shell for all such calls of a slot. Result data: :class:`StatefulReport`, and segments as for
    ``bash``."""
    TERMINAL = "terminal"
    """A program on a pseudo-terminal. Keys are the payload of ``send``, or named. Several calls may be under
    way at once: only ``start`` waits for its turn. Result data: :class:`TerminalReport`."""
    JOB = "job"
    """A command in the background. What is typed is the payload of ``input``. Several calls may be under way
    at once: only ``start`` waits for its turn. Result data: :class:`JobReport`, of a ``list``
    :class:`JobListReport`."""

    READ_FILE = "read_file"
    """Result data: :class:`ReadFileReport`; one segment: the content."""
    WRITE_FILE = "write_file"
    """The content is the call's payload. Result data: :class:`WriteFileReport`."""
    EDIT_FILE = "edit_file"
    """The payload is the text to replace, then the new one. Result data: :class:`EditFileReport`."""

    UPLOAD = "file.upload"
    """A file, or a tar archive to unpack, on input frames, and after it the 32 bytes of its SHA-256. Result
    data: :class:`UploadReport`."""
    DOWNLOAD = "file.download"
    """A file, or an archive of a folder, on output frames of stream ``data``; the call must have credit for
    them. Result data: :class:`DownloadReport`."""
    SEARCH = "file.search"
    """Lines that match a pattern. Result data: :class:`SearchReport`; one segment: the matches, see
    ``wire/listing.py``."""
    LIST = "file.list"
    """One page of a folder. Result data: :class:`ListReport`; one segment: the entries, see
    ``wire/listing.py``."""
