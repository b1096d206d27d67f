"""PURE. From the daemon's report to the result that a model and a trainer read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hermes_trio.errors import (
    BusyError,
    HermesTrioError,
    InvalidInputError,
    LinkLostError,
    LostError,
    Provenance,
    RemoteProtocolError,
    SandboxLostError,
    SlotStateError,
    UnavailableError,
)
from hermes_trio.executor.file_results import FILE_COMPOSERS, Composer, error_for_model
from hermes_trio.executor.job_results import compose_job
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.streams import Streams
from hermes_trio.wire.codec import structure_arguments
from hermes_trio.wire.frames import Result
from hermes_trio.wire.operations import BashArguments, Operation, SlotStatusReport


def result_of(
    call: ToolCall,
    operation: Operation,
    result: Result,
    *,
    arguments: Mapping[str, Any],
    mechanisms: Mapping[str, str] | None = None,
) -> ToolResult:
    """The tool result for a call that the daemon answered.

    ``mechanisms``, what keeps slots in there, becomes part of the metadata of what ran in one.
    """
    success = result.provenance is Provenance.OK
    output, metadata = "", dict(result.data)
    compose = _COMPOSERS.get(operation)
    if compose is not None and (success or result.segments):
        try:
            output, metadata = compose(call, result, arguments)
        except (KeyError, TypeError, ValueError, RemoteProtocolError, InvalidInputError) as exc:
            text = f"the daemon's report on {operation} cannot be read: {exc!r}"
            return ToolResult(
                success=False, error=text, uniq_id=call.uniq_id, provenance=Provenance.INTERNAL_ERROR
            )
    if mechanisms and "isolation" in metadata:
        metadata["mechanisms"] = mechanisms
    return ToolResult(
        success=success,
        output=output,
        error=error_for_model(operation, result),
        metadata=metadata,
        uniq_id=call.uniq_id,
        provenance=result.provenance,
        streams=_streams_of(result, arguments) if compose is _compose_bash and result.segments else None,
    )


def result_of_failure(call: ToolCall, error: HermesTrioError) -> ToolResult:
    """The tool result for a call that no daemon answered."""
    provenance, text = Provenance.INTERNAL_ERROR, str(error)
    metadata: dict[str, Any] = {}
    match error:
        case LinkLostError():
            provenance = Provenance.LINK_LOST
        case SandboxLostError():
            provenance = Provenance.SANDBOX_LOST
        case InvalidInputError():
            provenance = Provenance.INVALID_REQUEST
        case UnavailableError() | BusyError():
            provenance, text = Provenance.UNAVAILABLE, f"Failed to acquire slot: {error}"
        case _:
            pass
    if isinstance(error, LostError):
        metadata["outcome"] = error.outcome
        text = f"Batch execution failed: {error}"
    return ToolResult(
        success=False, error=text, metadata=metadata, uniq_id=call.uniq_id, provenance=provenance
    )


def cancelled_here(call: ToolCall) -> ToolResult:
    """The tool result for a call that somebody else than its caller has ended."""
    return ToolResult(
        success=False,
        error="Cancelled by an operator",
        uniq_id=call.uniq_id,
        provenance=Provenance.CANCELLED,
    )


def check_quiesced(result: Result) -> int:
    """Whatever the daemon says but yes is no. How many background jobs were ended for it.

    Raises:
        SandboxLostError: the slot is gone, and the workspace with it.
        SlotStateError: the trajectory was released meanwhile.
        UnavailableError: it could not be done.
    """
    match result.provenance:
        case Provenance.OK:
            killed = result.data.get("jobs_killed", 0)
            return killed if isinstance(killed, int) else 0
        case Provenance.SANDBOX_LOST:
            raise SandboxLostError(result.error)
        case Provenance.CANCELLED:  # only a release does that
            told = f"the slot was released before it was quiet: {result.error}"
            raise SlotStateError(told, field="trajectory_id")
        case _:
            raise UnavailableError(f"the slot could not be quiesced ({result.provenance}): {result.error}")


def status_report(result: Result) -> SlotStatusReport:
    """Read what a daemon says of a slot.

    Raises:
        UnavailableError: it does not say.
    """
    if result.provenance is not Provenance.OK:
        raise UnavailableError(f"the daemon could not tell what runs in the slot: {result.error}")
    try:
        return structure_arguments(SlotStatusReport, result.data)
    except InvalidInputError as exc:
        raise UnavailableError(f"the daemon's report on a slot cannot be read: {exc}") from exc


_DEFAULT_KEPT_BYTES = BashArguments(command="").max_output_bytes


def text_of(data: bytes) -> str:
    """Bytes of a program as text; what is not UTF-8 becomes U+FFFD."""
    return data.decode("utf-8", "replace")


def _segments(result: Result) -> list[bytes]:
    parts, start = [], 0
    for length in result.segments:
        parts.append(result.payload[start : start + length])
        start += length
    return parts


def _head_bytes(arguments: Mapping[str, Any]) -> int:
    """Of a stream that was cut."""
    kept_bytes: int = arguments.get("max_output_bytes", _DEFAULT_KEPT_BYTES)
    return kept_bytes // 2


def _streams_of(result: Result, arguments: Mapping[str, Any]) -> Streams:
    stdout, stderr = _segments(result)
    return Streams(
        stdout=stdout,
        stderr=stderr,
        stdout_bytes=result.data["stdout_bytes"],
        stderr_bytes=result.data["stderr_bytes"],
        head_bytes=_head_bytes(arguments),
        order=result.data.get("order", ()),
    )


def _compose_bash(
    _call: ToolCall, result: Result, arguments: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Standard output, then standard error under a heading: the ancestor's shape, which models know."""
    data = dict(result.data)
    head_bytes = _head_bytes(arguments)
    kept_stdout, kept_stderr = _segments(result)
    stdout = _with_gap(kept_stdout, total_bytes=data["stdout_bytes"], head_bytes=head_bytes)
    stderr = _with_gap(kept_stderr, total_bytes=data["stderr_bytes"], head_bytes=head_bytes)
    output = f"{stdout}\n[stderr]\n{stderr}" if stdout and stderr else stdout or stderr
    data["timeout"] = data["ending"] == "limit"
    return output.strip(), data


def _with_gap(kept: bytes, *, total_bytes: int, head_bytes: int) -> str:
    """What was kept of a stream, with a sentence where something is missing."""
    missing = total_bytes - len(kept)
    if missing <= 0:
        return text_of(kept)
    gap = f"\n[... {missing} of {total_bytes} bytes left out ...]\n"
    return text_of(kept[:head_bytes]) + gap + text_of(kept[head_bytes:])


def _compose_terminal(
    _call: ToolCall, result: Result, _arguments: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The screen without the empty lines below it, or what else was asked for."""
    return text_of(result.payload).rstrip("\n"), dict(result.data)


_COMPOSERS: Mapping[Operation, Composer] = {
    Operation.BASH: _compose_bash,
    Operation.BASH_STATEFUL: _compose_bash,
    Operation.TERMINAL: _compose_terminal,
    Operation.JOB: compose_job,
    **FILE_COMPOSERS,
}
