"""Listing a folder, page by page. Runs in the slot.

An entry is :data:`ENTRY`, then its path; ``hermes_trio/wire/listing.py`` reads it at the far end.
"""

from __future__ import annotations

import os
import stat
import struct

from sandbox_daemon.agent import paths
from sandbox_daemon.agent.worker.told import Skipped, say
from sandbox_daemon.agent.worker.walk import Entry, Place, walk

ENTRY = struct.Struct("!BIQqH")
"""Kind, permissions, size, time of change in ns, length of the path."""
_KINDS = {stat.S_IFREG: 1, stat.S_IFDIR: 2, stat.S_IFLNK: 3}
_OTHER = 4
_STDOUT = 1


def list_folder(
    workspace: paths.Workspace,
    *,
    path: bytes,
    recursive: bool,
    after: bytes,
    max_entries: int,
    max_bytes: int,
) -> None:
    """One page: what comes after ``after``, as far as it fits."""
    skipped = Skipped()
    place = Place(workspace, path)
    page = bytearray()
    count = 0
    truncated = False
    for entry in walk(place, skipped, recursive=recursive, after=after):
        packed = _packed(entry)
        if not packed:
            continue
        if count >= max_entries or len(page) + len(packed) > max_bytes:
            truncated = True
            break
        page += packed
        count += 1
    write_all(_STDOUT, page)
    say("entries", count)
    say("truncated", int(truncated))
    skipped.tell()


def _packed(entry: Entry) -> bytes:
    try:
        status = entry.status()
    except OSError:
        return b""  # it went while we looked
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), _OTHER)
    mode = stat.S_IMODE(status.st_mode)
    return ENTRY.pack(kind, mode, status.st_size, status.st_mtime_ns, len(entry.path)) + entry.path


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """To a pipe, which takes a part at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
