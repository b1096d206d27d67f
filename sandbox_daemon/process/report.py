"""PURE: from how a command ended to the outcome its caller reads."""

from __future__ import annotations

import errno
import os
from typing import Any, Final, assert_never

from attrs import field, frozen

from hermes_trio.errors import Provenance
from sandbox_daemon.agent import protocol
from sandbox_daemon.isolation.hierarchies import Hits
from sandbox_daemon.process.command import Ending, Exit, Ran, Refusal
from sandbox_daemon.process.outcome import Outcome, words_of

EXIT_CODE_OF_A_KILL = -1
_CWD_ERRNOS = frozenset({errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG})
"""What a directory of the slot's own making can answer, and the shell cannot."""


@frozen(kw_only=True)
class Terms:
    """Under which a command ran.

    Args:
        limit_s: its limit.
        level: of isolation.
        network_isolated: it was kept off the network.
        hits: how often the slot ran into its limits meanwhile.
        memory_bytes: the slot's limit.
        processes: likewise.
    """

    limit_s: float
    level: str
    network_isolated: bool
    hits: Hits = field(factory=Hits)
    memory_bytes: int = 0
    processes: int = 0


def ending_of(ran: Ran, hits: Hits) -> Ending:
    """The terminal state. An exit that failed because the slot ran into a limit is that limit's."""
    if ran.ending is Ending.EXITED and isinstance(ran.report, Exit) and ran.report.status != 0:
        if hits.oom:
            return Ending.OOM
        if hits.forks:
            return Ending.PIDS_LIMIT
    return ran.ending


_BY_ITSELF: Final = (Ending.EXITED, Ending.OOM, Ending.PIDS_LIMIT)


def classify(ending: Ending, status: int) -> tuple[str, int, int | None]:
    """The report's ``ending``, ``exit_code`` and ``signal``, from the terminal state and a wait status."""
    if ending not in _BY_ITSELF:
        return ending.value, EXIT_CODE_OF_A_KILL, None
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return "signalled" if ending is Ending.EXITED else ending.value, 128 + number, number
    return ending.value, os.WEXITSTATUS(status), None


def provenance_of(ending: Ending, exit_code: int) -> Provenance:
    """Who is responsible."""
    match ending:
        case Ending.EXITED:
            return Provenance.OK if exit_code == 0 else Provenance.TOOL_ERROR
        case Ending.LIMIT | Ending.OUTPUT_LIMIT | Ending.NO_OUTPUT_LIMIT | Ending.OOM | Ending.PIDS_LIMIT:
            return Provenance.LIMIT_EXCEEDED
        case Ending.CANCELLED:
            return Provenance.CANCELLED
        case Ending.SANDBOX_LOST:
            return Provenance.SANDBOX_LOST
        case unreachable:
            assert_never(unreachable)


def error_of(ending: Ending, exit_code: int, ran: Ran, terms: Terms) -> str:
    """One line; the ancestor's texts where it had one."""
    total = ran.stdout.total + ran.stderr.total
    match ending:
        case Ending.EXITED:
            return "" if exit_code == 0 else f"Exit code: {exit_code}"
        case Ending.LIMIT:
            return f"Command timed out after {terms.limit_s}s"
        case Ending.OUTPUT_LIMIT:
            return f"Output limit: the command was ended after printing {total} bytes"
        case Ending.NO_OUTPUT_LIMIT:
            return "No-output limit: the command was ended after printing nothing for too long"
        case Ending.OOM:
            return f"Memory limit of {terms.memory_bytes} bytes reached (exit code: {exit_code})"
        case Ending.PIDS_LIMIT:
            return f"Limit of {terms.processes} processes reached (exit code: {exit_code})"
        case Ending.CANCELLED:
            return "Cancelled"
        case Ending.SANDBOX_LOST:
            return "The slot's agent was lost while the command ran"
        case unreachable:
            assert_never(unreachable)


def bash_outcome(ran: Ran, terms: Terms) -> Outcome:
    """The outcome of a command that was started, or that the agent refused to start."""
    if isinstance(ran.report, Refusal):
        return spawn_refusal(ran.report)
    usage = ran.report
    state = ending_of(ran, terms.hits)
    ending, exit_code, signal = classify(state, usage.status if usage else 0)
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
        "sandboxed": terms.level != "none",
        "network_isolated": terms.network_isolated,
        "isolation": terms.level,
        **_seldom(ran, terms.hits),
    }
    return Outcome(
        provenance=provenance_of(state, exit_code),
        error=error_of(state, exit_code, ran, terms),
        data=data,
        segments=(len(stdout), len(stderr)),
        payload=stdout + stderr,
    )


def _seldom(ran: Ran, hits: Hits) -> dict[str, Any]:
    """Members that most commands have no use for are left out, which means their defaults."""
    values = {
        "order": ran.order.runs(),
        "oom_kills": hits.oom,
        "forks_refused": hits.forks,
        "stdout_sha256": ran.stdout.sha256,
        "stderr_sha256": ran.stderr.sha256,
    }
    return {name: value for name, value in values.items() if value}


def spawn_refusal(refusal: Refusal) -> Outcome:
    """The agent could not start the command; nothing ran."""
    if refusal.reason == protocol.REASON_DENIED:
        return Outcome(provenance=Provenance.DENIED, error="Access denied: path outside workspace")
    if refusal.reason == protocol.REASON_NOT_FOUND:
        text = "bash: field 'cwd': no such directory in the workspace"
        return Outcome(provenance=Provenance.INVALID_REQUEST, error=text)
    if refusal.code in _CWD_ERRNOS:
        text = f"bash: field 'cwd': {words_of(refusal.code)}"
        return Outcome(provenance=Provenance.INVALID_REQUEST, error=text)
    if refusal.code == errno.EAGAIN:
        text = "The command could not be started: the slot's limit of processes is reached"
        return Outcome(provenance=Provenance.LIMIT_EXCEEDED, error=text)
    if refusal.code == errno.E2BIG:
        text = "bash: field 'environment': too long for the system together with the command"
        return Outcome(provenance=Provenance.INVALID_REQUEST, error=text)
    text = f"The command could not be started: {words_of(refusal.code)}"
    return Outcome(provenance=Provenance.UNAVAILABLE, error=text)
