"""Where MCP servers are and how much they may do. PURE."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from hermes_trio.errors import InvalidInputError


def _frozen_texts(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(texts)


@frozen(kw_only=True)
class McpProgram:
    """A server that we start, and talk to over its standard input and output.

    Args:
        command: program and arguments.
        env: its environment, beside ``PATH``, ``HOME`` and the like; nothing else of ours is handed on.
        cwd: its working directory; ``None``: ours.
    """

    command: tuple[str, ...] = field(converter=_frozen_texts)
    env: Mapping[str, str] = field(factory=dict, repr=False)
    cwd: str | None = None

    def __attrs_post_init__(self) -> None:
        if not self.command or not self.command[0]:
            raise InvalidInputError("there is no program", field="command")


@frozen(kw_only=True)
class McpUrl:
    """A server that runs already, and is asked over streamable HTTP.

    Args:
        url: of its endpoint.
        headers: sent with each request, for instance ``Authorization``.
    """

    url: str
    headers: Mapping[str, str] = field(factory=dict, repr=False)

    def __attrs_post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InvalidInputError("must begin with http:// or https://", field="url")


McpPlace = McpProgram | McpUrl


@frozen(kw_only=True)
class McpLimits:
    """What a server may do before it is given up.

    Args:
        connect_limit_s: seconds until it must have told its tools, each time that it is started.
        restarts: times that a server that ended is started, or connected to, again.
        restart_pause_s: seconds before each of these.
        max_message_bytes: of one message; with HTTP, of all that one request is answered.
        max_unasked: messages in a row that answer nothing: log lines, progress, noise.
        max_tools: tools it may have.
    """

    connect_limit_s: float = 30.0
    restarts: int = 3
    restart_pause_s: float = 1.0
    max_message_bytes: int = 16 * 1024 * 1024
    max_unasked: int = 10_000
    max_tools: int = 512


def read_mcp_config(path: Path) -> dict[str, McpPlace]:
    """Read the servers of a file in the format that MCP clients share: ``{"mcpServers": {name: {...}}}``.

    A server has ``command``, ``args``, ``env``, ``cwd``, or ``url`` and ``headers``.

    Raises:
        InvalidInputError: it names the file and the member.
    """
    source = str(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(f"cannot be read: {error.strerror}", source=source) from error
    except UnicodeDecodeError as error:
        raise InvalidInputError("is not UTF-8", source=source) from error
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"is not JSON: {error.msg}", source=source, line=error.lineno) from error
    servers = document.get("mcpServers") if isinstance(document, dict) else None
    if not isinstance(servers, dict):
        raise InvalidInputError("must be an object", source=source, field="mcpServers")
    return {name: _read_place(value, source, f"mcpServers.{name}") for name, value in servers.items()}


def _read_place(value: Any, source: str, path: str) -> McpPlace:
    if not isinstance(value, dict):
        raise InvalidInputError("must be an object", source=source, field=path)
    try:
        if "url" in value:
            return McpUrl(url=_text(value, "url"), headers=_texts(value, "headers"))
        arguments = value.get("args", [])
        if not isinstance(arguments, list) or not all(isinstance(each, str) for each in arguments):
            raise InvalidInputError("must be a list of texts", field="args")
        command = (_text(value, "command"), *arguments)
        cwd = _text(value, "cwd") if "cwd" in value else None
        return McpProgram(command=command, env=_texts(value, "env"), cwd=cwd)
    except InvalidInputError as error:
        message = str(error).removeprefix(f"field '{error.field}': ")
        raise InvalidInputError(message, source=source, field=f"{path}.{error.field}") from error


def _text(value: Mapping[str, Any], name: str) -> str:
    told = value.get(name)
    if not isinstance(told, str):
        raise InvalidInputError("must be a text", field=name)
    return told


def _texts(value: Mapping[str, Any], name: str) -> Mapping[str, str]:
    told = value.get(name, {})
    if not isinstance(told, dict) or not all(isinstance(each, str) for each in told.values()):
        raise InvalidInputError("must be an object of texts", field=name)
    return told
