"""PURE: what is asked for of files, checked, and made into a worker's job."""

from __future__ import annotations

from typing import Any, Final

from hermes_trio.errors import Provenance
from hermes_trio.wire.operations import (
    DownloadArguments,
    ListArguments,
    Packing,
    SearchArguments,
    UploadArguments,
)
from sandbox_daemon.process.outcome import Outcome
from sandbox_daemon.slots.requests import MAX_LIMIT_S, BadRequestError, path_bytes, path_of_bytes

MAX_PAGE_BYTES: Final = 2 * 1024 * 1024
"""A page of a listing travels in one frame, of a message of at most 4 MiB."""
MAX_ENTRIES: Final = 10_000_000
MAX_MODE: Final = 0o777
MAX_MATCHES: Final = 400
"""With the longest paths and lines they fill one frame."""
_UNLIMITED: Final = 1 << 62


def wire_path(path: str, path_hex: str, *, operation: str) -> bytes:
    """The path that is meant. ``BadRequestError`` names the field."""
    if not path_hex:
        return path_bytes(path, operation=operation)
    if path:
        raise BadRequestError(f"{operation}: field 'path_hex': there is a path already")
    return path_of_bytes(from_hex(path_hex, operation, "path_hex"), operation=operation, field="path_hex")


def from_hex(text: str, operation: str, field: str) -> bytes:
    """Bytes of an argument. ``BadRequestError`` names the field."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise BadRequestError(f"{operation}: field '{field}': is not hexadecimal") from None


def shown_path(path: bytes) -> str:
    """For a message."""
    return path.decode("utf-8", "surrogateescape")


def check_limit_s(limit_s: float, *, operation: str) -> None:
    """``BadRequestError`` for what is no time to work in."""
    if not 0 < limit_s <= MAX_LIMIT_S:
        raise BadRequestError(f"{operation}: field 'limit_s': must be above 0 and at most {MAX_LIMIT_S}")


def _check_count(value: int, operation: str, field: str, *, least: int = 0) -> int:
    if not least <= value <= _UNLIMITED:
        raise BadRequestError(f"{operation}: field '{field}': must be at least {least}")
    return value


def list_job(arguments: ListArguments) -> dict[str, Any]:
    """What the worker is to list. ``BadRequestError`` names the field."""
    operation = "file.list"
    if not 1 <= arguments.max_entries <= MAX_ENTRIES:
        text = f"{operation}: field 'max_entries': must be between 1 and {MAX_ENTRIES}"
        raise BadRequestError(text)
    return {
        "path": wire_path(arguments.path, arguments.path_hex, operation=operation),
        "recursive": arguments.recursive,
        "after": from_hex(arguments.after_hex, operation, "after_hex"),
        "max_entries": arguments.max_entries,
        "max_bytes": MAX_PAGE_BYTES,
    }


def search_job(arguments: SearchArguments) -> dict[str, Any]:
    """What the worker is to look for. ``BadRequestError`` names the field."""
    operation = "file.search"
    if not 1 <= arguments.max_matches <= MAX_MATCHES:
        raise BadRequestError(f"{operation}: field 'max_matches': must be between 1 and {MAX_MATCHES}")
    return {
        "path": path_bytes(arguments.path, operation=operation),
        "pattern": path_bytes(arguments.pattern, operation=operation, field="pattern"),
        "literal": arguments.literal,
        "ignore_case": arguments.ignore_case,
        "glob": path_bytes(arguments.glob, operation=operation, field="glob") if arguments.glob else b"",
        "max_matches": arguments.max_matches,
    }


def download_bounds(arguments: DownloadArguments) -> tuple[bytes, int]:
    """Path and most bytes of a download. ``BadRequestError`` names the field."""
    operation = "file.download"
    path = wire_path(arguments.path, arguments.path_hex, operation=operation)
    _check_count(arguments.offset, operation, "offset")
    if arguments.offset and arguments.packing is not Packing.FILE:
        raise BadRequestError(f"{operation}: field 'offset': an archive has none")
    _check_count(arguments.max_entries, operation, "max_entries")
    max_bytes = _UNLIMITED if arguments.max_bytes is None else arguments.max_bytes
    return path, _check_count(max_bytes, operation, "max_bytes")


def pack_job(arguments: DownloadArguments, path: bytes, max_bytes: int, *, disk_bytes: int) -> dict[str, Any]:
    """What the worker is to pack. ``BadRequestError`` names the field."""
    content_bytes = arguments.max_content_bytes
    if content_bytes is None:
        content_bytes = disk_bytes or _UNLIMITED
    return {
        "path": path,
        "gzipped": arguments.packing is Packing.TAR_GZ,
        "bare": not arguments.full_names,
        "max_entries": arguments.max_entries,
        "max_bytes": max_bytes,
        "max_content": _check_count(content_bytes, "file.download", "max_content_bytes"),
    }


def upload_job(arguments: UploadArguments) -> tuple[str, dict[str, Any]]:
    """The worker's verb, and what it is to write. ``BadRequestError`` names the field."""
    operation = "file.upload"
    path = wire_path(arguments.path, arguments.path_hex, operation=operation)
    _check_count(arguments.offset, operation, "offset")
    if arguments.unpack:
        if arguments.offset or arguments.mode is not None:
            raise BadRequestError(f"{operation}: field 'unpack': an archive has no offset and no mode")
        return "unpack", {"path": path}
    if arguments.mode is not None and not 0 <= arguments.mode <= MAX_MODE:
        raise BadRequestError(f"{operation}: field 'mode': must be between 0 and 0o777")
    mode = -1 if arguments.mode is None else arguments.mode
    return "put", {"path": path, "offset": arguments.offset, "mode": mode}


def no_input() -> Outcome:
    """An upload to which nothing can be sent."""
    return Outcome(provenance=Provenance.INVALID_REQUEST, error="file.upload: it needs input frames")


def no_credit() -> Outcome:
    """A download that may send nothing."""
    text = "file.download: field 'output_credit': must be more than 0"
    return Outcome(provenance=Provenance.INVALID_REQUEST, error=text)
