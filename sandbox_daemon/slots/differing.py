"""One page of how a slot's workspace differs from its base. Blocking, for a thread."""

from __future__ import annotations

import contextlib

from attrs import frozen

from hermes_trio.wire.changes import Look, PathChange, pack_change
from hermes_trio.wire.listing import EntryKind
from sandbox_daemon.slots.storage import DataDirectory
from sandbox_daemon.workspaces.changes import changes
from sandbox_daemon.workspaces.entries import Entry, Kind
from sandbox_daemon.workspaces.tree import DiskFolder, open_layers, same_content

MAX_PAGE_BYTES = 2 * 1024 * 1024
"""It travels in one frame."""

_KINDS = {Kind.FILE: EntryKind.FILE, Kind.FOLDER: EntryKind.DIRECTORY, Kind.LINK: EntryKind.LINK}


@frozen(kw_only=True)
class DiffPage:
    """Packed changes; ``truncated``: there is more."""

    packed: bytes
    count: int
    truncated: bool


def diff_page(storage: DataDirectory, slot: str, after_path: bytes | None, max_entries: int) -> DiffPage:
    """The changes after a path, as many as are wanted and fit. ``OSError``, ``TooDeepError``."""
    base = storage.base_folder(slot)
    packed = bytearray()
    count = 0
    with contextlib.ExitStack() as stack:
        whole = base is None or not storage.layered
        merged, _ = stack.enter_context(open_layers(storage.written_folders(slot), whole=whole))
        below = None
        if base is not None:
            below = DiskFolder.at(base)
            stack.callback(below.close)
        for change in changes(merged, below, same_content=same_content, after_path=after_path):
            piece = pack_change(
                PathChange(path=change.path, before=_look(change.before), after=_look(change.after))
            )
            if count >= max_entries or len(packed) + len(piece) > MAX_PAGE_BYTES:
                return DiffPage(packed=bytes(packed), count=count, truncated=True)
            packed += piece
            count += 1
    return DiffPage(packed=bytes(packed), count=count, truncated=False)


def _look(entry: Entry | None) -> Look | None:
    if entry is None:
        return None
    kind = _KINDS.get(entry.kind, EntryKind.OTHER)
    return Look(kind=kind, mode=entry.mode, size=entry.size if entry.kind is Kind.FILE else 0)
