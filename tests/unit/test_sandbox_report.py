"""From how a command ended to what its caller reads."""

from __future__ import annotations

import errno

import pytest

from hermes_trio.errors import Provenance
from hermes_trio.wire.codec import unstructure
from hermes_trio.wire.operations import BashReport
from sandbox_daemon.agent import protocol
from sandbox_daemon.process.command import Ending, Exit, Ran, Refusal
from sandbox_daemon.process.output import BoundedCapture
from sandbox_daemon.process.report import bash_outcome, spawn_refusal


def captured(data: bytes, limit: int = 100) -> BoundedCapture:
    """A stream that is over."""
    capture = BoundedCapture(limit)
    capture.feed(memoryview(data))
    return capture


def ran(
    ending: Ending = Ending.EXITED, *, status: int | None = 0, stdout: bytes = b"out", **more: object
) -> Ran:
    """A command that ended so."""
    report = None if status is None else Exit(status=status, cpu_us=1500, peak_kib=3, swept=1, held=True)
    return Ran(
        ending=ending, report=report, stdout=captured(stdout), stderr=captured(b"err"), duration_s=0.5, **more
    )


def told(how: Ran, limit_s: float = 1.0):
    """Its outcome."""
    return bash_outcome(how, limit_s=limit_s, level="ns", network_isolated=True)


@pytest.mark.parametrize(
    ("how", "provenance", "error", "exit_code", "signal", "ending"),
    [
        (ran(), Provenance.OK, "", 0, None, "exited"),
        (ran(status=3 << 8), Provenance.TOOL_ERROR, "Exit code: 3", 3, None, "exited"),
        (ran(status=11), Provenance.TOOL_ERROR, "Exit code: 139", 139, 11, "signalled"),
        (ran(Ending.LIMIT), Provenance.LIMIT_EXCEEDED, "Command timed out after 1.0s", -1, None, "limit"),
        (
            ran(Ending.LIMIT, status=None),
            Provenance.LIMIT_EXCEEDED,
            "Command timed out after 1.0s",
            -1,
            None,
            "limit",
        ),
        (ran(Ending.CANCELLED), Provenance.CANCELLED, "Cancelled", -1, None, "cancelled"),
        (
            ran(Ending.OUTPUT_LIMIT),
            Provenance.LIMIT_EXCEEDED,
            "Output limit: the command was ended after printing 6 bytes",
            -1,
            None,
            "output_limit",
        ),
        (
            ran(Ending.SANDBOX_LOST, status=None),
            Provenance.SANDBOX_LOST,
            "The slot's agent was lost while the command ran",
            -1,
            None,
            "sandbox_lost",
        ),
    ],
)
def test_every_ending_has_its_words(
    how: Ran, provenance: Provenance, error: str, exit_code: int, signal: int | None, ending: str
) -> None:
    """Provenance, error, exit code, signal."""
    outcome = told(how)
    assert (outcome.provenance, outcome.error) == (provenance, error)
    data = outcome.data
    assert (data["exit_code"], data["signal"], data["ending"]) == (exit_code, signal, ending)
    assert (outcome.payload, outcome.segments) == (b"outerr", (3, 3))


@pytest.mark.parametrize(("limit_s", "text"), [(1, "1s"), (1.0, "1.0s"), (0.25, "0.25s"), (600.0, "600.0s")])
def test_the_limit_is_shown_as_it_was_given(limit_s: float, text: str) -> None:
    """As the ancestor did."""
    assert told(ran(Ending.LIMIT), limit_s).error == f"Command timed out after {text}"


def test_the_hand_made_report_is_the_wires() -> None:
    """Same names, same types, same values as through the codec."""
    outcome = told(ran(kill_ms=12.5))
    assert unstructure(BashReport(**outcome.data)) == outcome.data
    assert outcome.data["cpu_s"] == 0.0015
    assert outcome.data["peak_memory_bytes"] == 3072
    assert outcome.data["pipe_still_held"] is True


def test_what_the_agent_could_not_tell_is_null() -> None:
    """Not zero."""
    data = told(ran(Ending.SANDBOX_LOST, status=None)).data
    assert (data["cpu_s"], data["peak_memory_bytes"], data["pipe_still_held"]) == (None, None, False)


def test_level_none_is_not_called_sandboxed() -> None:
    """Every result says where it ran."""
    outcome = bash_outcome(ran(), limit_s=1, level="none", network_isolated=False)
    assert (outcome.data["sandboxed"], outcome.data["isolation"]) == (False, "none")


@pytest.mark.parametrize(
    ("refusal", "provenance", "words"),
    [
        (Refusal(reason=protocol.REASON_DENIED, code=errno.EXDEV), Provenance.DENIED, "outside workspace"),
        (Refusal(reason=protocol.REASON_NOT_FOUND, code=errno.ENOENT), Provenance.INVALID_REQUEST, "'cwd'"),
        (Refusal(reason=protocol.REASON_OS, code=errno.E2BIG), Provenance.INVALID_REQUEST, "'environment'"),
        (Refusal(reason=protocol.REASON_OS, code=errno.EAGAIN), Provenance.UNAVAILABLE, "temporarily"),
    ],
)
def test_a_command_that_could_not_start_says_why(
    refusal: Refusal, provenance: Provenance, words: str
) -> None:
    """Nothing ran."""
    how = Ran(ending=Ending.EXITED, report=refusal, stdout=captured(b""), stderr=captured(b""), duration_s=0)
    outcome = told(how)
    assert outcome == spawn_refusal(refusal)
    assert outcome.provenance is provenance
    assert words in outcome.error
