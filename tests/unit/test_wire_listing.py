"""Entries of a folder, as they travel."""

from __future__ import annotations

import pytest

from hermes_trio.errors import RemoteProtocolError
from hermes_trio.wire.listing import EntryKind, ListedEntry, pack_entry, unpack_entries

ENTRIES = (
    ListedEntry(path=b"a\n\xff", kind=EntryKind.FILE, mode=0o644, size=1 << 40, mtime_ns=-1),
    ListedEntry(path=b"d/" + b"x" * 4000, kind=EntryKind.LINK, mode=0o777, size=0, mtime_ns=1 << 60),
)


def test_a_page_is_what_was_packed() -> None:
    """Names are bytes, times may lie before the epoch."""
    assert unpack_entries(b"".join(map(pack_entry, ENTRIES))) == ENTRIES
    assert unpack_entries(b"") == ()


def test_every_cut_is_noticed() -> None:
    """A page ends where an entry ends."""
    data = pack_entry(ENTRIES[0])
    for end in range(1, len(data)):
        with pytest.raises(RemoteProtocolError):
            unpack_entries(data[:end])


def test_an_unknown_kind_is_no_entry() -> None:
    """Nothing is guessed."""
    with pytest.raises(RemoteProtocolError):
        unpack_entries(b"\0" + pack_entry(ENTRIES[0])[1:])
