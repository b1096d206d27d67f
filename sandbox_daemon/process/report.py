"""PURE: from how a command ended to the outcome its caller reads."""

from __future__ import annotations

import errno
import os
from typing import assert_never

from hermes_trio.errors import Provenance
from sandbox_daemon.agent import protocol
from sandbox_daemon.process.command import Ending, Ran, Refusal
from sandbox_daemon.process.outcome import Outcome

EXIT_CODE_OF_A_KILL = -1
_CWD_ERRNOS = frozenset({errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG})
"""What a directory of the slot's own making can answer, and the shell cannot."""


def classify(ending: Ending, status: int) -> tuple[str, int, int | None]:
    """The report's ``ending``, ``exit_code`` and ``signal``, from the terminal state and a wait status."""
    if ending is not Ending.EXITED:
        return ending.value, EXIT_CODE_OF_A_KILL, None
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return "signalled", 128 + number, number
    return "exited", os.WEXITSTATUS(status), None


def provenance_of(ending: Ending, exit_code: int) -> Provenance:
    """Who is responsible."""
    match ending:
        case Ending.EXITED:
            return Provenance.OK if exit_code == 0 else Provenance.TOOL_ERROR
        case Ending.LIMIT | Ending.OUTPUT_LIMIT:
            return Provenance.LIMIT_EXCEEDED
        case Ending.CANCELLED:
            return Provenance.CANCELLED
        case Ending.SANDBOX_LOST:
            return Provenance.SANDBOX_LOST
        case unreachable:
            assert_never(unreachable)


def error_of(ending: Ending, exit_code: int, *, limit_s: float, total: int) -> str:
    """One line; the ancestor's texts where it had one."""
    match ending:
        case Ending.EXITED:
            return "" if exit_code == 0 else f"Exit code: {exit_code}"
        case Ending.LIMIT:
            return f"Command timed out after {limit_s}s"
        case Ending.OUTPUT_LIMIT:
            return f"Output limit: the command was ended after printing {total} bytes"
        case Ending.CANCELLED:
            return "Cancelled"
        case Ending.SANDBOX_LOST:
            return "The slot's agent was lost while the command ran"
        case unreachable:
            assert_never(unreachable)


def bash_outcome(ran: Ran, *, limit_s: float, level: str, network_isolated: bool) -> Outcome:
    """The outcome of a command that was started, or that the agent refused to start."""
    if isinstance(ran.report, Refusal):
        return spawn_refusal(ran.report)
    usage = ran.report
    ending, exit_code, signal = classify(ran.ending, usage.status if usage else 0)
    out, err = ran.stdout, ran.stderr
    stdout, stderr = out.kept(), err.kept()
    # By hand: this runs for every command, and the codec's unstructuring costs ten times as much.
    data = {
        "exit_code": exit_code,
        "signal": signal,
        "ending": ending,
        "duration_s": ran.duration_s,
        "kill_ms": ran.kill_ms,
        "stdout_bytes": out.total,
        "stderr_bytes": err.total,
        "truncated": out.truncated or err.truncated,
        "pipe_still_held": bool(usage and usage.held),
        "cpu_s": usage.cpu_us / 1e6 if usage else None,
        "peak_memory_bytes": usage.peak_kib * 1024 if usage else None,
        "sandboxed": level != "none",
        "network_isolated": network_isolated,
        "isolation": level,
    }
    return Outcome(
        provenance=provenance_of(ran.ending, exit_code),
        error=error_of(ran.ending, exit_code, limit_s=limit_s, total=out.total + err.total),
        data=data,
        segments=(len(stdout), len(stderr)),
        payload=stdout + stderr,
    )


def spawn_refusal(refusal: Refusal) -> Outcome:
    """The agent could not start the command; nothing ran."""
    if refusal.reason == protocol.REASON_DENIED:
        return Outcome(provenance=Provenance.DENIED, error="Access denied: path outside workspace")
    if refusal.reason == protocol.REASON_NOT_FOUND:
        text = "bash: field 'cwd': no such directory in the workspace"
        return Outcome(provenance=Provenance.INVALID_REQUEST, error=text)
    if refusal.code in _CWD_ERRNOS:
        text = f"bash: field 'cwd': {os.strerror(refusal.code)}"
        return Outcome(provenance=Provenance.INVALID_REQUEST, error=text)
    if refusal.code == errno.E2BIG:
        text = "bash: field 'environment': too long for the system together with the command"
        return Outcome(provenance=Provenance.INVALID_REQUEST, error=text)
    text = f"The command could not be started: {os.strerror(refusal.code)}"
    return Outcome(provenance=Provenance.UNAVAILABLE, error=text)
