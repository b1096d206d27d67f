"""Commands in a slot's stateful shell: each in a turn of its own, all in one shell."""

from __future__ import annotations

from typing import Any, Final

import trio
from attrs import evolve

from hermes_trio.errors import Provenance
from hermes_trio.wire.operations import BashArguments, StatefulArguments
from sandbox_daemon.isolation.levels import Level
from sandbox_daemon.process import report
from sandbox_daemon.process.command import CommandSpec, Ending, Exit, Sink
from sandbox_daemon.process.outcome import AgentLostError, AgentStartError, Outcome
from sandbox_daemon.process.report import bash_outcome
from sandbox_daemon.slots.cell import Cell
from sandbox_daemon.slots.requests import BadRequestError, check_limit, command_spec
from sandbox_daemon.slots.turn import Turn
from sandbox_daemon.slots.work import RELEASED, Terms, lost
from sandbox_daemon.terminal.shell import ShellRan, StatefulShell, start_shell

_NO_SANDBOX: Final = Outcome(
    provenance=Provenance.DENIED,
    error="A sandbox is required for stateful shells, and this daemon runs at isolation level none",
)
_NETWORK_CHANGED: Final = "the network policy changed"
_SLOT_RESTARTED: Final = "the slot was restarted"


async def run_stateful(
    turn: Turn,
    terms: Terms,
    arguments: StatefulArguments,
    *,
    limit_s: float,
    sink: Sink | None = None,
) -> Outcome:
    """See :meth:`SlotPool.bash_stateful`.

    Cancellation: shielded, at most 3.75 s: the foreground is killed first, or the shell, or the slot.
    """
    plain = BashArguments(command=arguments.command, max_output_bytes=arguments.max_output_bytes)
    try:
        check_limit(limit_s)
        spec = command_spec(plain, b"", max_drained_bytes=terms.limits.max_drained_bytes)
    except BadRequestError as error:
        await trio.lowlevel.checkpoint()
        return evolve(error.outcome, error=error.outcome.error.replace("bash:", "bash_stateful:", 1))
    if arguments.require_stateful_sandbox and terms.level is Level.NONE:
        await trio.lowlevel.checkpoint()
        return _NO_SANDBOX
    network = arguments.allow_network and terms.network
    async with turn as cell:
        try:
            shell = _ready_shell(cell, network=network)
            new: dict[str, Any] = {"session_new": shell is None}
            if shell is None:
                shell, before = await _fresh_shell(cell, network=network)
                new |= {"session_before": before} if before else {}
            new["session"] = cell.sessions.shells
            hits = cell.group.hits()
            ran = await _run(cell, shell, evolve(spec, sink=sink), limit_s)
        except (AgentStartError, AgentLostError, OSError) as error:
            return lost(cell, error)
        told = report.Terms(
            limit_s=limit_s,
            level=terms.level.value,
            network_isolated=terms.cuts_network and not network,
            hits=cell.group.hits().since(hits),
            memory_bytes=terms.limits.memory_bytes,
            processes=terms.limits.max_processes,
        )
        return _told(ran, told, new=new)
    return RELEASED


def _ready_shell(cell: Cell, *, network: bool) -> StatefulShell | None:
    shell = cell.sessions.shell
    if shell is None or shell.is_over or cell.link_if_ready(network=network) is None:
        return None
    return shell


async def _fresh_shell(cell: Cell, *, network: bool) -> tuple[StatefulShell, str]:
    """A new shell for the slot, and how the one before it ended; empty when there was none."""
    book = cell.sessions
    if cell.link_if_ready(network=network) is None:
        if cell.agent is not None and cell.network != network:
            await cell.end_sessions(_NETWORK_CHANGED)
        await cell.restart(network=network)
    if book.shell is not None:
        book.ended = book.ended or _how_it_ended(book.shell)
        await cell.end_shell()
    assert cell.link is not None
    shell = await start_shell(cell.link, cell.group)
    if shell is None:
        raise AgentLostError("no shell came up")
    book.shell, ended, book.ended = shell, book.ended, ""
    book.shells += 1
    return shell, ended


def _how_it_ended(shell: StatefulShell) -> str:
    reported = shell.session.report
    if not isinstance(reported, Exit):
        return _SLOT_RESTARTED
    _, code, signal = report.classify(Ending.EXITED, reported.status)
    return f"signal {signal}" if signal is not None else f"exit code {code}"


async def _run(cell: Cell, shell: StatefulShell, spec: CommandSpec, limit_s: float) -> ShellRan:
    try:
        ran = await shell.run(spec, limit_s=limit_s)
    finally:
        if shell.is_over:
            cell.sessions.ended = cell.sessions.ended or _how_it_ended(shell)
            with trio.CancelScope(shield=True):  # bounded by the ends of the shell and of the slot
                await cell.end_shell()
    if ran.lost:
        cell.sessions.ended = "it did not come back from a command that was ended"
    return ran


def _told(ran: ShellRan, terms: report.Terms, *, new: dict[str, Any]) -> Outcome:
    """The outcome of any command, and what is to be said of the session."""
    outcome = bash_outcome(ran.ran, terms)
    data = dict(outcome.data)
    data["peak_memory_bytes"] = None
    data["stateful"] = True
    data["cwd"] = ran.cwd.decode("utf-8", "replace")
    data.update(new)
    if ran.background_bytes:
        data["background_bytes"] = ran.background_bytes
        data["background_output"] = ran.background.decode("utf-8", "replace")
    error = outcome.error
    if ran.exited:
        data["session_exited"] = True
        data["ending"] = "session_exited" if data["ending"] in ("exited", "signalled") else data["ending"]
        error = f"{error} (the shell has ended; the next command gets a new one)".lstrip()
    elif ran.lost:
        data["session_lost"] = True
        error += " (the shell was lost with it; the next command gets a new one)"
    return evolve(outcome, data=data, error=error if outcome.error else "")
