"""PURE. From a call of a file tool to the daemon's operation: one builder for each tool."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final

from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.usable import UnusableError, text_argument
from hermes_trio.wire.operations import Operation, ReadFileArguments, WriteFileArguments

Built = tuple[Operation, Mapping[str, Any], bytes]

_MAX_READ_BYTES: Final = ReadFileArguments(path="").max_bytes
_MAX_CONTENT_BYTES: Final = WriteFileArguments(path="").max_bytes
_LISTED: Final = 200
_MAX_LISTED: Final = 2000
_MAX_MATCHES: Final = 400
_MAX_MODE: Final = 0o777


def _read_file(arguments: Mapping[str, Any], _config: ExecutorConfig) -> Built:
    sent: dict[str, Any] = {"path": text_argument(arguments, "path", nul=False)}
    sent |= {name: arguments[name] for name in ("offset", "start_line", "end_line") if name in arguments}
    if "max_bytes" in arguments:
        sent["max_bytes"] = max(0, min(arguments["max_bytes"], _MAX_READ_BYTES))
        if not {"start_line", "end_line"} & sent.keys():
            sent.setdefault("offset", 0)
    return Operation.READ_FILE, sent, b""


def _write_file(arguments: Mapping[str, Any], _config: ExecutorConfig) -> Built:
    sent: dict[str, Any] = {"path": text_argument(arguments, "path", nul=False)}
    content = _content(arguments)
    if len(content) > _MAX_CONTENT_BYTES:
        raise UnusableError(f"Content too large: {len(content)} bytes (max {_MAX_CONTENT_BYTES})")
    if arguments.get("append"):
        sent["append"] = True
    if "mode" in arguments:
        sent["mode"] = _mode(arguments["mode"])
    if arguments.get("parents") is False:
        sent["parents"] = False
    return Operation.WRITE_FILE, sent, content


def _content(arguments: Mapping[str, Any]) -> bytes:
    content = text_argument(arguments, "content")
    if arguments.get("encoding") != "base64":
        return content.encode()
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise UnusableError(f"Invalid arguments: 'content' is not base64: {exc}") from exc


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if 0 <= mode <= _MAX_MODE:
        return mode
    raise UnusableError("Invalid arguments: 'mode' must be octal digits, such as 755")


def _edit_file(arguments: Mapping[str, Any], _config: ExecutorConfig) -> Built:
    old, new = (text_argument(arguments, name).encode() for name in ("old_text", "new_text"))
    if len(old) + len(new) > _MAX_CONTENT_BYTES:
        text = f"Content too large: {len(old) + len(new)} bytes (max {_MAX_CONTENT_BYTES})"
        raise UnusableError(text)
    sent: dict[str, Any] = {"path": text_argument(arguments, "path", nul=False), "old_bytes": len(old)}
    if arguments.get("replace_all"):
        sent["replace_all"] = True
    return Operation.EDIT_FILE, sent, old + new


def _list_files(arguments: Mapping[str, Any], _config: ExecutorConfig) -> Built:
    sent = {
        "path": text_argument(arguments, "path", default=".", nul=False),
        "recursive": bool(arguments.get("recursive")),
        "after_hex": text_argument(arguments, "after", default="", nul=False).encode().hex(),
        "max_entries": max(1, min(arguments.get("max_entries", _LISTED), _MAX_LISTED)),
    }
    return Operation.LIST, sent, b""


def _search_files(arguments: Mapping[str, Any], _config: ExecutorConfig) -> Built:
    sent: dict[str, Any] = {
        "pattern": text_argument(arguments, "pattern", nul=False),
        "path": text_argument(arguments, "path", default=".", nul=False),
        "glob": text_argument(arguments, "glob", default="", nul=False),
        "literal": bool(arguments.get("literal")),
        "ignore_case": bool(arguments.get("ignore_case")),
    }
    if "max_matches" in arguments:
        sent["max_matches"] = max(1, min(arguments["max_matches"], _MAX_MATCHES))
    return Operation.SEARCH, sent, b""


FILE_BUILDERS: Final[Mapping[str, Callable[[Mapping[str, Any], ExecutorConfig], Built]]] = {
    "read_file": _read_file,
    "write_file": _write_file,
    "edit_file": _edit_file,
    "list_files": _list_files,
    "search_files": _search_files,
}
