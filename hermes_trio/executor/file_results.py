"""PURE. What the model reads of a file operation."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final, assert_never

from hermes_trio.tools.calls import ToolCall
from hermes_trio.wire.frames import Result
from hermes_trio.wire.listing import EntryKind, ListedEntry, unpack_entries, unpack_matches
from hermes_trio.wire.operations import FileFailure, Operation

Composed = tuple[str, dict[str, Any]]
Composer = Callable[[ToolCall, Result, Mapping[str, Any]], Composed]

_PART: Final = "ask for a part of it: start_line and end_line, or offset and max_bytes"


def _read(call: ToolCall, result: Result, _sent: Mapping[str, Any]) -> Composed:
    data = dict(result.data)
    if call.arguments.get("encoding") == "base64":
        return base64.b64encode(result.payload).decode("ascii"), data
    text = result.payload.decode("utf-8", "replace")
    return text + _note(data, len(result.payload)), data


def _note(data: Mapping[str, Any], size: int) -> str:
    """A sentence where a range was cut."""
    if not data.get("truncated"):
        return ""
    if data.get("last_line") is not None:
        return f"\n[... cut after {size} bytes, in line {data['last_line']}; go on from there ...]"
    return f"\n[... {size} bytes of {data['file_bytes']}; go on with a higher offset ...]"


def _write(_call: ToolCall, result: Result, sent: Mapping[str, Any]) -> Composed:
    written = result.data["written_bytes"]
    if sent.get("append"):
        return f"Successfully appended to {sent['path']}, which has {written} bytes now", dict(result.data)
    return f"Successfully wrote {written} bytes to {sent['path']}", dict(result.data)


def _edit(_call: ToolCall, result: Result, sent: Mapping[str, Any]) -> Composed:
    data = dict(result.data)
    count, line = data["replacements"], data["first_line"]
    places = f"{count} places, the first in line {line}" if count > 1 else f"line {line}"
    return f"Successfully edited {sent['path']}: {places}", data


def _list(_call: ToolCall, result: Result, sent: Mapping[str, Any]) -> Composed:
    entries = unpack_entries(result.payload)
    lines = [_entry(entry) for entry in entries]
    if result.data["truncated"]:
        last = _name(entries[-1].path) if entries else ""
        lines.append(f"[... there is more; go on with after={last!r} ...]")
    return "\n".join(lines) or f"{sent['path']} is empty", dict(result.data)


def _entry(entry: ListedEntry) -> str:
    name = _name(entry.path)
    match entry.kind:
        case EntryKind.DIRECTORY:
            return f"{name}/"
        case EntryKind.FILE:
            return f"{name} ({entry.size} bytes)"
        case EntryKind.LINK:
            return f"{name} (link)"
        case EntryKind.OTHER:
            return f"{name} (not a file)"
        case _:
            assert_never(entry.kind)


def _name(path: bytes) -> str:
    """On one line; what is no text or would break the line is escaped."""
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else path.decode("latin-1").encode("unicode_escape").decode("ascii")


def _search(_call: ToolCall, result: Result, _sent: Mapping[str, Any]) -> Composed:
    lines = [
        f"{_name(match.path)}:{match.line}: {match.text.decode('utf-8', 'replace')}"
        for match in unpack_matches(result.payload)
    ]
    if result.data["truncated"]:
        lines.append("[... there are more matches; narrow the search ...]")
    return "\n".join(lines) or "No matches", dict(result.data)


FILE_COMPOSERS: Final[Mapping[Operation, Composer]] = {
    Operation.READ_FILE: _read,
    Operation.WRITE_FILE: _write,
    Operation.EDIT_FILE: _edit,
    Operation.LIST: _list,
    Operation.SEARCH: _search,
}


def error_for_model(operation: Operation, result: Result) -> str:
    """The daemon's line, and what to do about it where that is not plain."""
    too_large = result.data.get("reason") == FileFailure.TOO_LARGE
    return f"{result.error}; {_PART}" if too_large and operation is Operation.READ_FILE else result.error
