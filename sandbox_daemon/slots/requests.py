"""PURE: what a call asks of a slot, checked; and what the agent said of a file, told."""

from __future__ import annotations

import errno
from typing import Final

from hermes_trio.errors import Provenance
from hermes_trio.wire.operations import BashArguments, FileFailure, ReadFileArguments
from sandbox_daemon.agent import protocol
from sandbox_daemon.isolation.policy import SlotLimits
from sandbox_daemon.process.command import MAX_COMMAND_BYTES, CommandSpec
from sandbox_daemon.process.outcome import Outcome, words_of

MAX_PATH_BYTES: Final = 4096
MAX_KEPT_BYTES: Final = 1024 * 1024
MAX_ENVIRONMENT_BYTES: Final = 32 * 1024
MAX_LIMIT_S: Final = 7 * 24 * 3600.0
_MAX_OFFSET: Final = 1 << 62
MAX_FILE_BYTES: Final = 3 * 1024 * 1024
"""The content travels in one frame of a message of at most 4 MiB."""


class BadRequestError(Exception):
    """The arguments make no sense; carries the outcome that says so."""

    def __init__(self, text: str, provenance: Provenance = Provenance.INVALID_REQUEST) -> None:
        super().__init__(text)
        self.outcome = Outcome(provenance=provenance, error=text)


def command_spec(
    arguments: BashArguments, stdin: bytes, *, max_drained_bytes: int = SlotLimits().max_drained_bytes
) -> CommandSpec:
    """A command that the agent can start. ``BadRequestError`` names the field."""
    command = _encoded(arguments.command, "bash", "command")
    if b"\0" in command:
        raise BadRequestError("bash: field 'command': holds a NUL")
    if len(command) > MAX_COMMAND_BYTES:
        raise BadRequestError(f"bash: field 'command': more than {MAX_COMMAND_BYTES} bytes")
    if arguments.shell not in ("bash", "sh"):
        raise BadRequestError("bash: field 'shell': must be 'bash' or 'sh'")
    if not 0 <= arguments.max_output_bytes <= MAX_KEPT_BYTES:
        raise BadRequestError(f"bash: field 'max_output_bytes': must be between 0 and {MAX_KEPT_BYTES}")
    silence_s = arguments.no_output_limit_s
    if silence_s is not None and not 0 < silence_s <= MAX_LIMIT_S:
        raise BadRequestError(f"bash: field 'no_output_limit_s': must be above 0 and at most {MAX_LIMIT_S}")
    return CommandSpec(
        command=command,
        shell=arguments.shell.encode(),
        cwd=path_bytes(arguments.cwd, operation="bash", field="cwd"),
        environment=_environment(dict(arguments.environment)),
        stdin=stdin,
        max_output_bytes=arguments.max_output_bytes,
        max_drained_bytes=max_drained_bytes,
        no_output_limit_s=silence_s,
        hashed=arguments.sha256,
    )


def check_limit(limit_s: float) -> None:
    """``BadRequestError`` for what is no time to run in."""
    if not 0 < limit_s <= MAX_LIMIT_S:
        raise BadRequestError(f"bash: field 'limit_s': must be above 0 and at most {MAX_LIMIT_S}")


def _environment(pairs: dict[str, str]) -> bytes:
    for name, value in pairs.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise BadRequestError(
                "bash: field 'environment': a name is empty or holds '=', or there is a NUL"
            )
    _encoded("".join(pairs) + "".join(pairs.values()), "bash", "environment")
    packed = protocol.pack_environment(pairs)
    if len(packed) > MAX_ENVIRONMENT_BYTES:
        raise BadRequestError(f"bash: field 'environment': more than {MAX_ENVIRONMENT_BYTES} bytes")
    return packed


def path_bytes(path: str, *, operation: str, field: str = "path") -> bytes:
    """A path the agent can be asked for. ``BadRequestError`` names the field."""
    encoded = _encoded(path, operation, field)
    return path_of_bytes(encoded, operation=operation, field=field)


def path_of_bytes(path: bytes, *, operation: str, field: str) -> bytes:
    """The same of a path that came as bytes."""
    if not path or b"\0" in path:
        raise BadRequestError(f"{operation}: field '{field}': is empty or holds a NUL")
    if len(path) > MAX_PATH_BYTES:
        raise BadRequestError(f"{operation}: field '{field}': more than {MAX_PATH_BYTES} bytes")
    return path


def _encoded(text: str, operation: str, field: str) -> bytes:
    """The bytes a text stands for: UTF-8, and for what is not, the surrogates of PEP 383."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise BadRequestError(f"{operation}: field '{field}': is not text") from None


def check_max_bytes(max_bytes: int, *, operation: str) -> None:
    """``BadRequestError`` for a bound nobody can keep."""
    if not 0 <= max_bytes <= MAX_FILE_BYTES:
        raise BadRequestError(f"{operation}: field 'max_bytes': must be between 0 and {MAX_FILE_BYTES}")


def check_range(arguments: ReadFileArguments) -> None:
    """``BadRequestError`` for a part of a file that is none."""
    first, last = arguments.start_line, arguments.end_line
    if arguments.offset is not None:
        if first is not None or last is not None:
            raise BadRequestError("read_file: field 'offset': cannot be given together with lines")
        if not 0 <= arguments.offset <= _MAX_OFFSET:
            raise BadRequestError("read_file: field 'offset': must be at least 0")
    if first is not None and first < 1:
        raise BadRequestError("read_file: field 'start_line': must be at least 1")
    if last is not None and last < (first or 1):
        raise BadRequestError(f"read_file: field 'end_line': must be at least {first or 1}")


def check_mode(mode: int | None) -> None:
    """``BadRequestError`` for bits that a file of a slot cannot have."""
    if mode is not None and not 0 <= mode <= 0o777:
        raise BadRequestError("write_file: field 'mode': must be between 0 and 0o777")


def _shown(path: str) -> str:
    """On one line, and such that JSON can hold it."""
    return path if path.isprintable() else path.encode("unicode_escape").decode("ascii")


def file_failure(fixed: tuple[int, ...], *, path: str, max_bytes: int) -> Outcome:
    """The ancestor's texts for what its clients know, one line for the rest."""
    reason, code, size = fixed
    path = _shown(path)
    told = {"reason": _failure_of(reason, code).value}
    if reason == protocol.REASON_DENIED:
        text = "Access denied: path outside workspace"
        return Outcome(provenance=Provenance.DENIED, error=text, data=told)
    if reason == protocol.REASON_NOT_FOUND:
        text = f"File not found: {path}"
    elif reason == protocol.REASON_NOT_REGULAR:
        text = f"Not a file: {path}"
    elif reason == protocol.REASON_TOO_LARGE:
        text = f"File too large: {size} bytes (max {max_bytes})"
    elif reason == protocol.REASON_NOT_DIRECTORY:
        text = f"Not a directory: {path}"
    elif reason == protocol.REASON_TOO_MANY:
        text = f"Too many entries: more than {size} in {path}"
    else:
        text = f"{words_of(code)}: {path}"
    return Outcome(provenance=Provenance.TOOL_ERROR, error=text, data=told)


_FAILURES: Final = {
    protocol.REASON_DENIED: FileFailure.DENIED,
    protocol.REASON_NOT_FOUND: FileFailure.NOT_FOUND,
    protocol.REASON_NOT_REGULAR: FileFailure.NOT_REGULAR,
    protocol.REASON_NOT_DIRECTORY: FileFailure.NOT_DIRECTORY,
    protocol.REASON_TOO_LARGE: FileFailure.TOO_LARGE,
    protocol.REASON_TOO_MANY: FileFailure.TOO_MANY,
}
_FULL: Final = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})


def _failure_of(reason: int, code: int) -> FileFailure:
    return _FAILURES.get(reason, FileFailure.NO_SPACE if code in _FULL else FileFailure.OTHER)
