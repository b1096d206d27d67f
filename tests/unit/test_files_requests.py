"""What is asked for of files is checked before anything is asked of a slot."""

from __future__ import annotations

from typing import Any

import pytest

from hermes_trio.errors import Provenance
from hermes_trio.wire.operations import (
    DownloadArguments,
    ListArguments,
    Packing,
    ReadFileArguments,
    SearchArguments,
    UploadArguments,
)
from sandbox_daemon.files.requests import (
    check_limit_s,
    download_bounds,
    list_job,
    no_credit,
    no_input,
    pack_job,
    search_job,
    shown_path,
    upload_job,
)
from sandbox_daemon.slots.requests import BadRequestError, check_mode, check_range


def test_a_path_is_text_or_hexadecimal() -> None:
    """Whichever it is, it is bytes from here on."""
    assert list_job(ListArguments(path="ü"))["path"] == "ü".encode()
    assert list_job(ListArguments(path_hex="ff"))["path"] == b"\xff"
    assert list_job(ListArguments(path=".", after_hex="612f62"))["after"] == b"a/b"
    assert shown_path(b"\xff") == "\udcff"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"path": ""}, "path"),
        ({"path": "a\0b"}, "path"),
        ({"path": "x" * 4097}, "path"),
        ({"path": "a", "path_hex": "62"}, "path_hex"),
        ({"path_hex": "6"}, "path_hex"),
        ({"path_hex": "00"}, "path_hex"),
        ({"path": "a", "after_hex": "zz"}, "after_hex"),
        ({"path": "a", "max_entries": 0}, "max_entries"),
        ({"path": "a", "max_entries": 10**8}, "max_entries"),
    ],
)
def test_an_impossible_listing_names_its_field(arguments: dict[str, Any], field: str) -> None:
    """One line, and nothing ran."""
    with pytest.raises(BadRequestError, match=f"file.list: field '{field}'") as caught:
        list_job(ListArguments(**arguments))
    assert caught.value.outcome.provenance is Provenance.INVALID_REQUEST


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"offset": -1}, "offset"),
        ({"offset": 1, "packing": Packing.TAR}, "offset"),
        ({"max_bytes": -1}, "max_bytes"),
        ({"max_entries": -1}, "max_entries"),
        ({"max_content_bytes": -1}, "max_content_bytes"),
    ],
)
def test_an_impossible_download_names_its_field(arguments: dict[str, Any], field: str) -> None:
    """Likewise."""
    asked = DownloadArguments(path="a", **arguments)
    with pytest.raises(BadRequestError, match=f"file.download: field '{field}'"):
        pack_job(asked, *download_bounds(asked), disk_bytes=0)


def test_an_archive_holds_at_most_what_the_disk_could() -> None:
    """Sparse files are as large as they say."""
    asked = DownloadArguments(path="a", packing=Packing.TAR_GZ, full_names=True)
    path, max_bytes = download_bounds(asked)
    job = pack_job(asked, path, max_bytes, disk_bytes=1000)
    assert (job["gzipped"], job["bare"], job["max_content"]) == (True, False, 1000)
    assert pack_job(asked, path, max_bytes, disk_bytes=0)["max_content"] == max_bytes
    fewer = DownloadArguments(path="a", max_content_bytes=5, max_bytes=7)
    assert pack_job(fewer, *download_bounds(fewer), disk_bytes=1000)["max_content"] == 5


@pytest.mark.parametrize("limit_s", [0.0, -1.0, float("nan"), 1e9])
def test_no_time_is_no_limit(limit_s: float) -> None:
    """As for commands."""
    with pytest.raises(BadRequestError, match="limit_s"):
        check_limit_s(limit_s, operation="file.list")
    check_limit_s(1.0, operation="file.list")


def test_a_download_without_credit_could_send_nothing() -> None:
    """And says so."""
    assert no_credit().provenance is Provenance.INVALID_REQUEST


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"pattern": ""}, "pattern"),
        ({"pattern": "x", "glob": "a\0"}, "glob"),
        ({"pattern": "x", "max_matches": 0}, "max_matches"),
        ({"pattern": "x", "max_matches": 401}, "max_matches"),
    ],
)
def test_an_impossible_search_names_its_field(arguments: dict[str, Any], field: str) -> None:
    """Likewise."""
    with pytest.raises(BadRequestError, match=f"file.search: field '{field}'"):
        search_job(SearchArguments(**arguments))


def test_a_search_is_passed_on_as_bytes() -> None:
    """The files hold bytes too."""
    job = search_job(SearchArguments(pattern="ü", glob="*.py"))
    assert (job["pattern"], job["glob"], job["path"]) == ("ü".encode(), b"*.py", b".")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"offset": -1}, "offset"),
        ({"offset": 0, "start_line": 1}, "offset"),
        ({"start_line": 0}, "start_line"),
        ({"end_line": 0}, "end_line"),
        ({"start_line": 3, "end_line": 2}, "end_line"),
    ],
)
def test_an_impossible_part_of_a_file_names_its_field(arguments: dict[str, Any], field: str) -> None:
    """Likewise."""
    with pytest.raises(BadRequestError, match=f"read_file: field '{field}'"):
        check_range(ReadFileArguments(path="f", **arguments))


def test_a_file_of_a_slot_has_plain_permissions() -> None:
    """No setuid bits."""
    check_mode(None)
    check_mode(0o777)
    with pytest.raises(BadRequestError, match="mode"):
        check_mode(0o4755)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"path": ""}, "path"),
        ({"path": "f", "offset": -1}, "offset"),
        ({"path": "f", "mode": 0o4755}, "mode"),
        ({"path": "f", "unpack": True, "offset": 1}, "unpack"),
        ({"path": "f", "unpack": True, "mode": 0o755}, "unpack"),
    ],
)
def test_an_impossible_upload_names_its_field(arguments: dict[str, Any], field: str) -> None:
    """Likewise."""
    with pytest.raises(BadRequestError, match=f"file.upload: field '{field}'"):
        upload_job(UploadArguments(**arguments))


def test_an_upload_is_a_file_or_an_archive() -> None:
    """Each has a worker's verb."""
    assert upload_job(UploadArguments(path="f")) == ("put", {"path": b"f", "offset": 0, "mode": -1})
    put = upload_job(UploadArguments(path="f", mode=0, offset=5))
    assert put == ("put", {"path": b"f", "offset": 5, "mode": 0})
    assert upload_job(UploadArguments(path="d", unpack=True)) == ("unpack", {"path": b"d"})
    assert no_input().provenance is Provenance.INVALID_REQUEST
