"""From how a command ended to what its caller reads."""

from __future__ import annotations

import errno

import pytest
from attrs import evolve

from hermes_trio.errors import Provenance
from hermes_trio.wire.codec import structure_arguments, unstructure
from hermes_trio.wire.operations import BashReport
from sandbox_daemon.agent import protocol
from sandbox_daemon.isolation.hierarchies import Hits
from sandbox_daemon.process.command import Ending, Exit, Ran, Refusal
from sandbox_daemon.process.output import BoundedCapture, Order
from sandbox_daemon.process.report import Terms, bash_outcome, spawn_refusal
from sandbox_daemon.slots.requests import file_failure


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
    streams = {"stdout": captured(stdout), "stderr": captured(b"err"), "order": Order(), **more}
    return Ran(ending=ending, report=report, duration_s=0.5, **streams)


def told(how: Ran, limit_s: float = 1.0, **more: object):
    """Its outcome."""
    return bash_outcome(how, Terms(limit_s=limit_s, level="ns", network_isolated=True, **more))


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
        (
            ran(Ending.NO_OUTPUT_LIMIT),
            Provenance.LIMIT_EXCEEDED,
            "No-output limit: the command was ended after printing nothing for too long",
            -1,
            None,
            "no_output_limit",
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
    seldom = {"order": (), "oom_kills": 0, "forks_refused": 0, "stdout_sha256": None, "stderr_sha256": None}
    assert unstructure(BashReport(**outcome.data)) == outcome.data | seldom
    assert outcome.data["cpu_s"] == 0.0015
    assert outcome.data["peak_memory_bytes"] == 3072
    assert outcome.data["pipe_still_held"] is True


def test_what_the_agent_could_not_tell_is_null() -> None:
    """Not zero."""
    data = told(ran(Ending.SANDBOX_LOST, status=None)).data
    assert (data["cpu_s"], data["peak_memory_bytes"], data["pipe_still_held"]) == (None, None, False)


def test_level_none_is_not_called_sandboxed() -> None:
    """Every result says where it ran."""
    outcome = bash_outcome(ran(), Terms(limit_s=1, level="none", network_isolated=False))
    assert (outcome.data["sandboxed"], outcome.data["isolation"]) == (False, "none")


@pytest.mark.parametrize(
    ("refusal", "provenance", "words"),
    [
        (Refusal(reason=protocol.REASON_DENIED, code=errno.EXDEV), Provenance.DENIED, "outside workspace"),
        (Refusal(reason=protocol.REASON_NOT_FOUND, code=errno.ENOENT), Provenance.INVALID_REQUEST, "'cwd'"),
        (Refusal(reason=protocol.REASON_OS, code=errno.E2BIG), Provenance.INVALID_REQUEST, "'environment'"),
        (Refusal(reason=protocol.REASON_OS, code=errno.EAGAIN), Provenance.LIMIT_EXCEEDED, "processes"),
        (Refusal(reason=protocol.REASON_OS, code=errno.ENOMEM), Provenance.UNAVAILABLE, "allocate"),
    ],
)
def test_a_command_that_could_not_start_says_why(
    refusal: Refusal, provenance: Provenance, words: str
) -> None:
    """Nothing ran."""
    how = evolve(ran(), report=refusal)
    outcome = told(how)
    assert outcome == spawn_refusal(refusal)
    assert outcome.provenance is provenance
    assert words in outcome.error


@pytest.mark.parametrize(
    ("hits", "status", "ending", "words", "exit_code"),
    [
        (Hits(oom=1), 9, "oom", "Memory limit of 64 bytes reached (exit code: 137)", 137),
        (Hits(oom=1), 137 << 8, "oom", "Memory limit of 64 bytes reached (exit code: 137)", 137),
        (Hits(forks=3), 254 << 8, "pids_limit", "Limit of 5 processes reached (exit code: 254)", 254),
        (Hits(oom=1, forks=1), 1 << 8, "oom", "Memory limit of 64 bytes reached (exit code: 1)", 1),
        (Hits(oom=1, forks=1), 0, "exited", "", 0),
    ],
)
def test_a_failure_after_a_limit_is_the_limits(
    hits: Hits, status: int, ending: str, words: str, exit_code: int
) -> None:
    """A command that coped has not failed; how often the slot ran into its limits is told either way."""
    outcome = told(ran(status=status), hits=hits, memory_bytes=64, processes=5)
    assert (outcome.data["ending"], outcome.error) == (ending, words)
    assert outcome.data["exit_code"] == exit_code
    assert outcome.data.get("oom_kills", 0) == hits.oom
    assert outcome.data.get("forks_refused", 0) == hits.forks
    assert outcome.provenance is (Provenance.LIMIT_EXCEEDED if words else Provenance.OK)


def test_the_time_limit_stays_the_time_limits_whatever_else_was_met() -> None:
    """Decided once, by what came first."""
    assert told(ran(Ending.LIMIT), hits=Hits(oom=1)).data["ending"] == "limit"


def test_order_and_digests_are_told_when_there_are_any() -> None:
    """And are the wire's, like the rest."""
    order = Order()
    order.note(1, 3)
    order.note(2, 3)
    hashed = BoundedCapture(10, hashed=True)
    hashed.feed(memoryview(b"abc"))
    data = told(evolve(ran(), order=order, stdout=hashed)).data
    assert data["order"] == [[1, 3], [2, 3]]
    assert data["stdout_sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert "stderr_sha256" not in data
    assert unstructure(structure_arguments(BashReport, data))["order"] == ((1, 3), (2, 3))


def test_a_directory_that_cannot_be_entered_is_the_callers_matter() -> None:
    """With the system's own words."""
    outcome = spawn_refusal(Refusal(reason=protocol.REASON_OS, code=errno.ELOOP))
    assert outcome.provenance is Provenance.INVALID_REQUEST
    assert "field 'cwd'" in outcome.error


@pytest.mark.parametrize("code", [4095, 4096, 2**32 - 1])
def test_an_errno_that_is_none_is_told_as_it_is(code: int) -> None:
    """A captured agent may say anything."""
    outcome = spawn_refusal(Refusal(reason=protocol.REASON_OS, code=code))
    assert str(code) in outcome.error
    assert file_failure((protocol.REASON_OS, code, 0), path="p", max_bytes=1).error.endswith(": p")
