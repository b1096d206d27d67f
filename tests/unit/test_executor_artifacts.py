"""Artifacts as values: encodings, the ancestor's members, names that are no text."""

from __future__ import annotations

import base64
import json

import pytest

from hermes_trio.errors import Provenance, RemoteProtocolError
from hermes_trio.executor.artifacts import (
    ArtifactArchive,
    ArtifactContent,
    ArtifactEntry,
    ArtifactList,
    mime_of,
    path_arguments,
    skipped_of,
)
from hermes_trio.executor.files import answered
from hermes_trio.wire.frames import CallId, Result
from hermes_trio.wire.listing import EntryKind, ListedEntry


def test_text_leaves_out_the_character_that_was_cut() -> None:
    """What was read in part may end anywhere; what is whole is not mended."""
    data = "aü".encode()[:-1]
    assert ArtifactContent(success=True, path="f", data=data, truncated=True).content == "a"
    assert ArtifactContent(success=True, path="f", data=data).content == "a�"
    assert ArtifactContent(success=True, path="f", data=b"\xff\0", encoding="base64").content == "/wA="


def test_a_content_has_the_ancestors_members() -> None:
    """Its clients read them by name."""
    content = ArtifactContent(
        success=True, path="a.json", data=b"{}", file_size=9, truncated=True, mime=mime_of("a.json")
    )
    assert content.as_payload() == {
        "success": True,
        "content": "{}",
        "error": "",
        "encoding": "text",
        "truncated": True,
        "bytes": 2,
        "file_size": 9,
        "path": "a.json",
        "mime": "application/json",
        "sha256": None,
    }
    assert mime_of("no-suffix") is None


def test_a_listing_has_the_ancestors_members() -> None:
    """And the bytes of a name that JSON cannot hold."""
    entries = [
        ListedEntry(path=path, kind=kind, mode=0o755, size=4, mtime_ns=1_500_000_000)
        for path, kind in ((b"d", EntryKind.DIRECTORY), (b"\xff", EntryKind.LINK))
    ]
    listing = ArtifactList(success=True, entries=tuple(map(ArtifactEntry.of, entries)), truncated=True)
    payload = listing.as_payload()
    assert json.loads(json.dumps(payload, ensure_ascii=False).encode()) == payload
    assert payload == {
        "success": True,
        "entries": [
            {"path": "d", "is_dir": True, "size": 4, "mtime": 1.5},
            {
                "path": "�",
                "is_dir": False,
                "size": 4,
                "mtime": 1.5,
                "path_base64": base64.b64encode(b"\xff").decode(),
            },
        ],
        "truncated": True,
        "error": "",
    }
    assert listing.entries[1].is_link


def test_an_archive_has_the_ancestors_members() -> None:
    """And what is not in it."""
    archive = ArtifactArchive(
        success=True, data=b"x", entry_count=2, skipped={"\udcff": "not a file"}, skipped_count=1
    )
    assert archive.as_payload() == {
        "success": True,
        "content": "eA==",
        "error": "",
        "encoding": "base64",
        "format": "tar.gz",
        "bytes": 1,
        "entry_count": 2,
        "skipped": {"�": "not a file"},
        "skipped_count": 1,
    }


def test_a_path_travels_as_text_where_it_is_text() -> None:
    """Else in hexadecimal: JSON knows no bytes."""
    assert path_arguments("ü") == path_arguments("ü".encode()) == {"path": "ü"}
    assert path_arguments("\udcff") == path_arguments(b"\xff") == {"path_hex": "ff"}
    assert skipped_of({"skipped": [["ff", "why"]]}) == {"\udcff": "why"}
    assert skipped_of({}) == {}


def test_what_came_must_be_what_was_sent() -> None:
    """A report that says something else is a breach of the protocol."""
    result = Result(call_id=CallId(1), provenance=Provenance.OK, data={"sent_bytes": 2})
    assert answered(result, b"ab").payload == b"ab"
    with pytest.raises(RemoteProtocolError, match="1 bytes came"):
        answered(result, b"a")
