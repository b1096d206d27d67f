"""What can be done with the terminals of a slot. Only their start waits for its turn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, assert_never

import trio

from hermes_trio.errors import Provenance
from hermes_trio.wire.operations import TerminalAction, TerminalArguments
from sandbox_daemon.isolation.levels import Level
from sandbox_daemon.process import report
from sandbox_daemon.process.command import Ending, Refusal
from sandbox_daemon.process.outcome import AgentLostError, AgentStartError, Outcome
from sandbox_daemon.slots.cell import Cell
from sandbox_daemon.slots.requests import MAX_FILE_BYTES, BadRequestError
from sandbox_daemon.slots.turn import Turn
from sandbox_daemon.slots.work import RELEASED, Terms, lost
from sandbox_daemon.terminal.keys import encode_keys, needs_modes
from sandbox_daemon.terminal.pty import Terminal, start_terminal
from sandbox_daemon.terminal.screen import SCROLLBACK_LINES

MAX_TERMINALS: Final = 8
MAX_WAIT_S: Final = 600.0
COLUMNS: Final = (20, 500)
ROWS: Final = (10, 200)
_SHELL: Final = (b"/bin/bash", b"bash", b"--norc", b"--noprofile")
_PASTED: Final = (b"\x1b[200~", b"\x1b[201~")
_FIRST_OUTPUT_S: Final = 0.25


def check_terminal(arguments: TerminalArguments) -> TerminalAction:
    """``BadRequestError`` names the field."""
    try:
        action = TerminalAction(arguments.action)
    except ValueError:
        raise BadRequestError(f"terminal: field 'action': {arguments.action[:64]!r} is none") from None
    _within("columns", arguments.columns, *COLUMNS)
    _within("rows", arguments.rows, *ROWS)
    _within("min_wait_s", arguments.min_wait_s, 0, MAX_WAIT_S)
    _within("max_wait_s", arguments.max_wait_s, 0, MAX_WAIT_S)
    _within("offset", arguments.offset, 0, 1 << 60)
    _within("max_bytes", arguments.max_bytes, 1, MAX_FILE_BYTES)
    _within("scrollback_lines", arguments.scrollback_lines, 0, SCROLLBACK_LINES)
    if not 0 < len(arguments.name) <= 64 or not arguments.name.isprintable():
        raise BadRequestError("terminal: field 'name': must be 1 to 64 printable characters")
    for field in ("argv", "keys"):
        try:
            words = [word.encode("utf-8", "surrogateescape") for word in getattr(arguments, field)]
        except UnicodeEncodeError:
            raise BadRequestError(f"terminal: field '{field}': is not text") from None
        if field == "argv" and (any(b"\0" in word for word in words) or sum(map(len, words)) > 100_000):
            raise BadRequestError("terminal: field 'argv': holds a NUL, or is too long")
    return action


def _within(field: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise BadRequestError(f"terminal: field '{field}': must be between {lowest} and {highest}")


async def run_start(
    turn: Turn, terms: Terms, arguments: TerminalArguments, *, nursery: trio.Nursery
) -> Outcome:
    """Starts a terminal, or finds the one of that name.

    Cancellation: shielded, at most 2.5 s: what was begun is ended.
    """
    if arguments.require_stateful_sandbox and terms.level is Level.NONE:
        await trio.lowlevel.checkpoint()
        text = "A sandbox is required for terminals, and this daemon runs at isolation level none"
        return Outcome(provenance=Provenance.DENIED, error=text)
    await trio.lowlevel.checkpoint()
    async with turn as cell:
        try:
            return await _start(
                cell, arguments, network=arguments.allow_network and terms.network, nursery=nursery
            )
        except (AgentStartError, AgentLostError) as error:
            return lost(cell, error)
        except OSError as error:
            text = f"No terminal: {error.strerror}"
            return Outcome(provenance=Provenance.LIMIT_EXCEEDED, error=text)
    return RELEASED


async def _start(
    cell: Cell, arguments: TerminalArguments, *, network: bool, nursery: trio.Nursery
) -> Outcome:
    await trio.lowlevel.checkpoint()
    link = cell.link_if_ready(network=network)
    if link is None:
        if cell.agent is not None and cell.network != network:
            await cell.end_sessions("the network policy changed")
        link = await cell.restart(network=network)
    known = cell.sessions.terminals.get(arguments.name)
    if known is not None and not known.is_over:
        return await _shown(known, arguments, started=False)
    if known is not None:
        await cell.end_terminal(arguments.name)
    if len(cell.sessions.terminals) >= MAX_TERMINALS:
        text = f"A slot has at most {MAX_TERMINALS} terminals; stop one"
        return Outcome(provenance=Provenance.LIMIT_EXCEEDED, error=text)
    terminal = await start_terminal(
        link,
        cell.group,
        _program(arguments.argv),
        columns=arguments.columns,
        rows=arguments.rows,
        folder=cell.storage.root,
        nursery=nursery,
    )
    cell.sessions.terminals[arguments.name] = terminal
    with trio.move_on_after(_FIRST_OUTPUT_S):  # a program that is not there is told now rather than later
        await terminal.wait_output(0)
    if isinstance(terminal.session.report, Refusal):
        await cell.end_terminal(arguments.name)
        return Outcome(provenance=Provenance.LIMIT_EXCEEDED, error="The program could not be started")
    return await _shown(terminal, arguments, started=True)


async def _shown(terminal: Terminal, arguments: TerminalArguments, *, started: bool) -> Outcome:
    await trio.lowlevel.checkpoint()
    if arguments.show:
        return await _capture(terminal, arguments, started=started)
    return _report(arguments.name, terminal, started=started)


def _program(argv: tuple[str, ...]) -> tuple[bytes, ...]:
    words = tuple(word.encode("utf-8", "surrogateescape") for word in argv)
    return (b"/usr/bin/env", b"env", b"--", *words) if words else _SHELL


async def run_terminal(
    cell: Cell, action: TerminalAction, arguments: TerminalArguments, *, data: bytes
) -> Outcome:
    """Everything but the start.

    Cancellation: abandons; keys that were typed are typed.
    """
    await trio.lowlevel.checkpoint()
    terminal = cell.sessions.terminals.get(arguments.name)
    if action is TerminalAction.STOP:
        await cell.end_terminal(arguments.name)
        return Outcome(data={"name": arguments.name, "running": False})
    if terminal is None:
        text = f"There is no terminal {arguments.name!r}: start it (again; the slot may have been restarted)"
        return Outcome(provenance=Provenance.TOOL_ERROR, error=text)
    try:
        return await _act(terminal, action, arguments, data)
    except AgentLostError as error:
        return lost(cell, error)
    except (OSError, ValueError):  # it was closed meanwhile
        return Outcome(provenance=Provenance.TOOL_ERROR, error="The terminal has ended")


async def _act(
    terminal: Terminal, action: TerminalAction, arguments: TerminalArguments, data: bytes
) -> Outcome:
    await trio.lowlevel.checkpoint()
    match action:
        case TerminalAction.SEND:
            return await _send(terminal, arguments, data)
        case TerminalAction.CAPTURE:
            return await _capture(terminal, arguments)
        case TerminalAction.OUTPUT:
            with trio.move_on_after(arguments.max_wait_s):
                await terminal.wait_output(arguments.offset)
            first, payload = terminal.output.read(arguments.offset, arguments.max_bytes)
            after = first + len(payload)
            return _report(arguments.name, terminal, payload=payload, first_offset=first, offset=after)
        case TerminalAction.RECORDING:
            return _recording(terminal, arguments)
        case TerminalAction.RESIZE:
            await terminal.resize(columns=arguments.columns, rows=arguments.rows)
            return _report(arguments.name, terminal)
        case TerminalAction.START | TerminalAction.STOP:
            raise AssertionError("handled before")
        case unreachable:
            assert_never(unreachable)


async def _send(terminal: Terminal, arguments: TerminalArguments, data: bytes) -> Outcome:
    application = bracketed = False
    if arguments.paste or needs_modes(arguments.keys):
        application, bracketed = await terminal.modes()
    data = encode_keys(arguments.keys, application=application) + data
    if arguments.paste and bracketed:
        begin, end = _PASTED
        data = begin + data.replace(end, b"") + end  # what is pasted cannot end its own paste
    seen = terminal.output.end
    with trio.CancelScope() as late:
        if arguments.block:
            late.deadline = trio.current_time() + arguments.max_wait_s
        sent = await terminal.send(data)
        await trio.sleep(arguments.min_wait_s)
        if arguments.block:
            await terminal.wait_settled(seen)
    if late.cancelled_caught:
        sent = len(data)
    told: dict[str, Any] = {"sent_bytes": sent, "settled": not late.cancelled_caught}
    if arguments.show:
        return await _capture(terminal, arguments, **told)
    return _report(arguments.name, terminal, **told)


def _recording(terminal: Terminal, arguments: TerminalArguments) -> Outcome:
    offset = arguments.offset
    if arguments.follow:
        offset = 0 if arguments.reset else terminal.followed
    payload = terminal.recording(offset, arguments.max_bytes)
    if arguments.follow:
        terminal.followed = offset + len(payload)
    return _report(arguments.name, terminal, payload=payload, offset=offset + len(payload))


async def _capture(terminal: Terminal, arguments: TerminalArguments, **more: Any) -> Outcome:
    shot = await terminal.look(scrollback_lines=arguments.scrollback_lines)
    payload = "\n".join((*shot.scrollback, *shot.lines)).encode("utf-8", "replace")
    return _report(
        arguments.name,
        terminal,
        payload=payload[-arguments.max_bytes :],
        cursor=shot.cursor,
        alternate=shot.alternate,
        screen_lines=len(shot.lines),
        skipped_bytes=terminal.skipped_bytes,
        offset=terminal.output.end,
        **more,
    )


def _report(name: str, terminal: Terminal, *, payload: bytes = b"", **more: Any) -> Outcome:
    data: Mapping[str, Any] = {
        "name": name,
        "columns": terminal.columns,
        "rows": terminal.rows,
        "running": not terminal.is_over,
        "exit_code": _exit_code(terminal),
        **more,
    }
    return Outcome(data=data, segments=(len(payload),), payload=payload)


def _exit_code(terminal: Terminal) -> int | None:
    status = terminal.status
    if status is None or not (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
        return None
    return report.classify(Ending.EXITED, status)[1]
