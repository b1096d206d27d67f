"""How differences travel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_trio.errors import RemoteProtocolError
from hermes_trio.wire.changes import Look, PathChange, pack_change, unpack_changes
from hermes_trio.wire.listing import EntryKind

LOOKS = st.builds(
    Look, kind=st.sampled_from(EntryKind), mode=st.integers(0, 0o7777), size=st.integers(0, 2**63)
)
CHANGES = st.builds(
    PathChange, path=st.binary(max_size=40), before=st.none() | LOOKS, after=st.none() | LOOKS
)


@given(st.lists(CHANGES, max_size=5))
def test_a_page_comes_back_as_it_was(changes: list[PathChange]) -> None:
    """Names are bytes, whatever bytes."""
    assert unpack_changes(b"".join(map(pack_change, changes))) == tuple(changes)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_page_or_refused(data: bytes) -> None:
    """Nothing else comes out of it."""
    try:
        changes = unpack_changes(data)
    except RemoteProtocolError:
        return
    assert b"".join(map(pack_change, changes)) == data or any(
        look is None for change in changes for look in (change.before, change.after)
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"x", "cut off"),
        (pack_change(PathChange(path=b"abc", before=None, after=None))[:-1], "cut off"),
        (b"\x09" + bytes(27), "malformed"),
    ],
)
def test_what_is_no_page_is_named(data: bytes, why: str) -> None:
    """The peer broke the protocol."""
    with pytest.raises(RemoteProtocolError, match=why):
        unpack_changes(data)


def test_a_change_says_how() -> None:
    """In one word."""
    look = Look(kind=EntryKind.FILE, mode=0o644, size=1)
    pairs = [(None, look), (look, None), (look, look)]
    hows = [PathChange(path=b"x", before=before, after=after).how for before, after in pairs]
    assert hows == ["added", "removed", "changed"]
