"""From the daemon's report to the result a model reads."""

from __future__ import annotations

from typing import Any

import pytest

from hermes_trio.errors import (
    BusyError,
    HermesTrioError,
    InvalidInputError,
    LinkLostError,
    Provenance,
    SandboxLostError,
    UnavailableError,
)
from hermes_trio.executor.results import result_of, result_of_failure, status_report
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.wire.frames import CallId, Result
from hermes_trio.wire.operations import Operation

CALL = ToolCall(name="bash", arguments={}, uniq_id="u1")


def bash(
    stdout: bytes = b"",
    stderr: bytes = b"",
    *,
    totals: tuple[int, int] | None = None,
    provenance: Provenance = Provenance.OK,
    error: str = "",
    **data: Any,
) -> ToolResult:
    """The tool result for a command that printed this."""
    out_bytes, err_bytes = totals or (len(stdout), len(stderr))
    result = Result(
        call_id=CallId(1),
        provenance=provenance,
        error=error,
        data={
            "exit_code": 0,
            "ending": "exited",
            "stdout_bytes": out_bytes,
            "stderr_bytes": err_bytes,
            **data,
        },
        segments=(len(stdout), len(stderr)),
        payload=stdout + stderr,
    )
    return result_of(CALL, Operation.BASH, result, arguments={"max_output_bytes": 8})


@pytest.mark.parametrize(
    ("stdout", "stderr", "output"),
    [
        (b"out\n", b"", "out"),
        (b"", b"err\n", "err"),
        (b"out\n", b"err\n", "out\n\n[stderr]\nerr"),
        (b"\xff\xe2\x82", b"", "\ufffd\ufffd"),
        (b"", b"", ""),
    ],
)
def test_output_has_the_ancestors_shape(stdout: bytes, stderr: bytes, output: str) -> None:
    """Standard output, then standard error under its heading, stripped, always valid text."""
    result = bash(stdout, stderr)
    assert (result.success, result.output, result.uniq_id) == (True, output, "u1")
    assert result.metadata["timeout"] is False


def test_what_was_left_out_is_said() -> None:
    """Head and tail with the exact number of bytes between them."""
    result = bash(b"headtail", totals=(1000, 0))
    assert result.output == "head\n[... 992 of 1000 bytes left out ...]\ntail"


def test_a_character_across_head_and_tail_is_whole() -> None:
    """Where nothing is missing there is no border."""
    assert bash("abcé".encode()).output == "abcé"


def test_a_limit_keeps_the_partial_output() -> None:
    """What was printed before the limit is there, and the metadata says that it was the limit."""
    result = bash(
        b"partial",
        provenance=Provenance.LIMIT_EXCEEDED,
        error="Command timed out after 1.0s",
        ending="limit",
        exit_code=-1,
    )
    assert not result.success
    assert (result.output, result.error) == ("partial", "Command timed out after 1.0s")
    assert (result.metadata["timeout"], result.metadata["exit_code"]) == (True, -1)
    assert result.provenance is Provenance.LIMIT_EXCEEDED


def test_files_read_and_write() -> None:
    """Content is the output; a write says how much and where."""
    read = Result(
        call_id=CallId(1), provenance=Provenance.OK, segments=(2,), payload=b"hi", data={"file_bytes": 2}
    )
    assert result_of(CALL, Operation.READ_FILE, read, arguments={"path": "a"}).output == "hi"
    wrote = Result(call_id=CallId(1), provenance=Provenance.OK, data={"written_bytes": 2})
    assert (
        result_of(CALL, Operation.WRITE_FILE, wrote, arguments={"path": "a"}).output
        == "Successfully wrote 2 bytes to a"
    )


def test_a_refusal_has_no_output() -> None:
    """Nothing ran, so nothing is composed; the daemon's sentence is the error."""
    denied = Result(
        call_id=CallId(1), provenance=Provenance.DENIED, error="Access denied: path outside workspace"
    )
    result = result_of(CALL, Operation.READ_FILE, denied, arguments={"path": "/etc/passwd"})
    assert (result.output, result.error) == ("", "Access denied: path outside workspace")
    assert result.provenance is Provenance.DENIED


@pytest.mark.parametrize(
    ("error", "provenance", "text", "outcome"),
    [
        (
            LinkLostError("gone", outcome="not_started"),
            Provenance.LINK_LOST,
            "Batch execution failed: gone",
            "not_started",
        ),
        (SandboxLostError("gone"), Provenance.SANDBOX_LOST, "Batch execution failed: gone", "unknown"),
        (UnavailableError("none"), Provenance.UNAVAILABLE, "Failed to acquire slot: none", None),
        (BusyError("full"), Provenance.UNAVAILABLE, "Failed to acquire slot: full", None),
        (InvalidInputError("no JSON"), Provenance.INVALID_REQUEST, "no JSON", None),
        (HermesTrioError("bug"), Provenance.INTERNAL_ERROR, "bug", None),
    ],
)
def test_infrastructure_failures_are_typed(
    error: HermesTrioError, provenance: Provenance, text: str, outcome: str | None
) -> None:
    """A trainer masks on provenance; it must never be guessed from text."""
    result = result_of_failure(CALL, error)
    assert (result.success, result.provenance, result.error) == (False, provenance, text)
    assert result.metadata.get("outcome") == outcome
    assert provenance.is_infrastructure or provenance is Provenance.INVALID_REQUEST


@pytest.mark.parametrize(
    ("data", "segments", "payload"),
    [
        ({}, (0, 0), b""),
        ({"stdout_bytes": 0, "stderr_bytes": 0}, (0, 0), b""),
        ({"stdout_bytes": 1}, (1,), b"x"),
    ],
)
def test_a_report_that_cannot_be_read_is_an_internal_error(
    data: dict[str, Any], segments: tuple[int, ...], payload: bytes
) -> None:
    """A daemon of another make must not bring its executor down."""
    answer = Result(
        call_id=CallId(1), provenance=Provenance.OK, data=data, segments=segments, payload=payload
    )
    result = result_of(CALL, Operation.BASH, answer, arguments={})
    assert (result.success, result.provenance) == (False, Provenance.INTERNAL_ERROR)
    assert "cannot be read" in result.error


def test_what_kept_the_command_in_is_in_its_metadata() -> None:
    """Of what ran in a slot; the mapping is the daemon's, not a copy for each call."""
    held = {"network": "network namespace"}
    answer = Result(
        call_id=CallId(1),
        provenance=Provenance.OK,
        data={"exit_code": 0, "ending": "exited", "stdout_bytes": 0, "stderr_bytes": 0, "isolation": "ns"},
        segments=(0, 0),
    )
    result = result_of(CALL, Operation.BASH, answer, arguments={}, mechanisms=held)
    assert result.metadata["mechanisms"] is held
    read = Result(call_id=CallId(1), provenance=Provenance.OK, data={"file_bytes": 2}, payload=b"hi")
    result = result_of(CALL, Operation.READ_FILE, read, arguments={"path": "a"}, mechanisms=held)
    assert "mechanisms" not in result.metadata


def test_the_bytes_are_there_beside_the_text() -> None:
    """Each stream, and both in their order, whatever they hold."""
    result = bash(b"\xff\0a", b"e", order=((1, 2), (2, 1), (1, 1)))
    assert result.streams is not None
    assert (result.streams.stdout, result.streams.stderr) == (b"\xff\0a", b"e")
    assert result.streams.interleaved() == [(1, b"\xff\0"), (2, b"e"), (1, b"a")]


def test_a_status_of_a_slot_that_cannot_be_read_says_so() -> None:
    """Whatever the daemon sent: an error of ours, never a traceback."""
    refused = Result(call_id=CallId(1), provenance=Provenance.SANDBOX_LOST, error="it is gone")
    with pytest.raises(UnavailableError, match="could not tell what runs in the slot: it is gone"):
        status_report(refused)
    with pytest.raises(UnavailableError, match="cannot be read"):
        status_report(Result(call_id=CallId(1), provenance=Provenance.OK, data={"processes": 7}))
