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


_MATCH: Final = struct.Struct("!QHI")
MAX_LINE_BYTES: Final = 500
"""Of a line that matches, so much is told."""


@frozen(kw_only=True)
class Match:
    """A line that was found.

    Args:
        path: relative to the workspace.
        line: its number, counted from 1.
        text: its first bytes, at most :data:`MAX_LINE_BYTES`, without the end of the line.
    """

    path: bytes
    line: int
    text: bytes


def pack_match(match: Match) -> bytes:
    """One match as it travels."""
    head = _MATCH.pack(match.line, len(match.path), len(match.text))
    return head + match.path + match.text


def unpack_matches(data: bytes) -> tuple[Match, ...]:
    """All matches of an answer.

    Raises:
        RemoteProtocolError: it is none.
    """
    matches = []
    start = 0
    while start < len(data):
        if len(data) - start < _MATCH.size:
            raise RemoteProtocolError("a match is cut off")
        line, path_length, text_length = _MATCH.unpack_from(data, start)
        path_end = start + _MATCH.size + path_length
        path, text = data[start + _MATCH.size : path_end], data[path_end : path_end + text_length]
        if len(text) < text_length or len(path) < path_length:
            raise RemoteProtocolError("a match is cut off")
        matches.append(Match(path=path, line=line, text=text))
        start = path_end + text_length
    return tuple(matches)
