"""PURE. Entries of a folder, as they travel: names are bytes, so this is no JSON.

One entry is a fixed head and the path. ``sandbox_daemon/agent/worker/listing.py`` writes the same inside the
slot, where nothing of ours can be imported.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from attrs import frozen

from hermes_trio.errors import RemoteProtocolError

_HEAD: Final = struct.Struct("!BIQqH")


class EntryKind(IntEnum):
    """What an entry is."""

    FILE = 1
    DIRECTORY = 2
    LINK = 3
    """A symbolic link; it is not followed."""
    OTHER = 4
    """A FIFO, socket or device."""


@frozen(kw_only=True)
class ListedEntry:
    """One entry of a folder.

    Args:
        path: relative to the workspace.
        kind: of the entry itself.
        mode: its permission bits.
        size: in bytes.
        mtime_ns: when its content changed, in nanoseconds since the epoch.
    """

    path: bytes
    kind: EntryKind
    mode: int
    size: int
    mtime_ns: int


def pack_entry(entry: ListedEntry) -> bytes:
    """One entry as it travels. Its path has at most 65,535 bytes."""
    head = _HEAD.pack(entry.kind, entry.mode, entry.size, entry.mtime_ns, len(entry.path))
    return head + entry.path


def unpack_entries(data: bytes) -> tuple[ListedEntry, ...]:
    """All entries of a page.

    Raises:
        RemoteProtocolError: it is none.
    """
    entries = []
    start = 0
    while start < len(data):
        if len(data) - start < _HEAD.size:
            raise RemoteProtocolError("an entry of a folder is cut off")
        kind, mode, size, mtime_ns, length = _HEAD.unpack_from(data, start)
        start += _HEAD.size
        path = data[start : start + length]
        start += length
        if len(path) < length or kind not in EntryKind.__members__.values():
            raise RemoteProtocolError("an entry of a folder is malformed")
        entries.append(ListedEntry(path=path, kind=EntryKind(kind), mode=mode, size=size, mtime_ns=mtime_ns))
    return tuple(entries)
