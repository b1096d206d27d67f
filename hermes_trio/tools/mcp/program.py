"""An MCP server as a child process: bounded messages, and nothing of it left when the block is left.

The SDK has such a transport; it keeps a line of any length and hands standard error on to ours. The child
has a session, and so a process group, of its own. It is asked to go (its input ends, as the protocol has
it), then told (SIGTERM), then killed, and the whole group with it. The group's number cannot be somebody
else's by then: its leader is not reaped before.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import mcp_types
import trio
from attrs import define, field
from mcp.client._transport import TransportStreams
from mcp.shared.message import SessionMessage

from hermes_trio.errors import UnavailableError
from hermes_trio.tools.mcp.config import McpLimits, McpProgram

_HANDED_ON = ("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "USER")
_CHUNK_BYTES = 64 * 1024
_STDERR_TAIL_BYTES = 16 * 1024
_ASKED_S = 2.0
_TOLD_S = 2.0
_KILLED_S = 2.0
"""SIGKILL works at once, except on a process that is stuck in the kernel."""


@define(eq=False)
class Connection:
    """What is known of a connection to a server besides its messages."""

    was_up: bool = False
    """It came so far that tools could be called."""
    closing: bool = False
    """We are ending it: what it says of its own end from here on means nothing."""
    over: trio.Event = field(factory=trio.Event)
    reason: str = "it ended"
    """Why it is over, as a part of a sentence."""
    stderr: bytearray = field(factory=bytearray)

    @property
    def last_words(self) -> str:
        """The last line of its standard error."""
        lines = self.stderr.decode("utf-8", "replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")

    def end(self, reason: str) -> None:
        """It is over; the first reason counts."""
        if not self.over.is_set():
            self.reason = reason
            self.over.set()


@asynccontextmanager
async def open_program(
    place: McpProgram, *, limits: McpLimits, connection: Connection
) -> AsyncIterator[TransportStreams]:
    """Start the server; its messages, both ways, for the SDK.

    Cancellation: shielded, at most 6 s, while the server ends.

    Args:
        place: the program.
        limits: a server that breaks one is over.
        connection: told when it is over, and why.

    Raises:
        UnavailableError: it cannot be started.
    """
    process = await _start(place)  # cancelled or not, it gives a process or nothing
    to_session, from_server = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_server, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    guard = _Guard(limits, connection)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_read, process, to_session, guard)
        nursery.start_soon(_write, process, from_session, guard)
        nursery.start_soon(_keep_stderr, process, connection)
        try:
            yield from_server, to_server
        finally:
            connection.closing = True
            with trio.CancelScope(shield=True):
                await _end(process)
            nursery.cancel_scope.cancel()
            for stream in (to_session, from_server, to_server, from_session):
                stream.close()


async def _start(place: McpProgram) -> trio.Process:
    handed_on = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    try:
        return await trio.lowlevel.open_process(
            place.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**handed_on, **place.env},
            cwd=place.cwd,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise UnavailableError(f"The MCP server {place.command[0]!r} cannot be started: {error}.") from error


# --- messages ---------------------------------------------------------------------------------------------


@define(eq=False)
class _Guard:
    """Counts what nobody asked for."""

    limits: McpLimits
    connection: Connection
    unasked: int = 0

    def heard(self, message: Any) -> None:
        """Take in a message, or ``None`` for a line that is none."""
        answers = isinstance(message, mcp_types.JSONRPCResponse | mcp_types.JSONRPCError)
        self.unasked = 0 if answers else self.unasked + 1
        if self.unasked > self.limits.max_unasked:
            self.connection.end(f"it sent {self.limits.max_unasked} messages that nobody asked for")

    def closed(self, reason: str) -> None:
        """A pipe is at its end."""
        if not self.connection.closing:
            self.connection.end(reason)

    def check_length(self, length: int) -> None:
        """Take in how much of a message there is without an end."""
        if length > self.limits.max_message_bytes:
            self.connection.end(f"it sent a message of more than {self.limits.max_message_bytes} bytes")


async def _read(process: trio.Process, to_session: Any, guard: _Guard) -> None:
    assert process.stdout is not None
    await trio.lowlevel.checkpoint()
    rest = bytearray()
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError, anyio.BrokenResourceError):
        async with to_session:
            while data := await process.stdout.receive_some(_CHUNK_BYTES):
                first, *more = data.split(b"\n")
                rest += first
                guard.check_length(len(rest))
                for following in more:
                    await _hand_on(bytes(rest), to_session, guard)
                    rest[:] = following
                if guard.connection.over.is_set():
                    return
    guard.closed("it closed its output")


async def _hand_on(line: bytes, to_session: Any, guard: _Guard) -> None:
    await trio.lowlevel.checkpoint()
    if guard.connection.over.is_set():
        return
    try:
        message = mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        guard.heard(None)  # some servers print to standard output
        return
    guard.heard(message)
    await to_session.send(SessionMessage(message))


async def _write(process: trio.Process, from_session: Any, guard: _Guard) -> None:
    assert process.stdin is not None
    await trio.lowlevel.checkpoint()
    try:
        async with from_session:
            async for message in from_session:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                guard.unasked = 0
                await process.stdin.send_all(text.encode() + b"\n")
    except (trio.BrokenResourceError, trio.ClosedResourceError, anyio.ClosedResourceError):
        guard.closed("it closed its input")


async def _keep_stderr(process: trio.Process, connection: Connection) -> None:
    assert process.stderr is not None
    await trio.lowlevel.checkpoint()
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while data := await process.stderr.receive_some(_CHUNK_BYTES):
            connection.stderr += data
            del connection.stderr[:-_STDERR_TAIL_BYTES]


# --- the end ----------------------------------------------------------------------------------------------


async def _end(process: trio.Process) -> None:
    assert process.stdin is not None
    with suppress(trio.BrokenResourceError):
        await process.stdin.aclose()
    for grace_s, number in ((_ASKED_S, signal.SIGTERM), (_TOLD_S, signal.SIGKILL)):
        with trio.move_on_after(grace_s) as scope:
            await _wait_dead(process.pid)
        if not scope.cancelled_caught:
            break
        _signal_group(process.pid, number)
    # The leader is dead or dying and not reaped: what else is in its group goes now.
    with trio.move_on_after(_KILLED_S):
        while members := _living_members(process.pid):
            _signal_group(process.pid, signal.SIGKILL)
            for pid in members:
                await _wait_dead(pid)
        await process.wait()


async def _wait_dead(pid: int) -> None:
    """Until the process has ended, reaped or not; SIGKILL does not work in the moment it is sent."""
    await trio.lowlevel.checkpoint()
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)


def _living_members(group: int) -> list[int]:
    """The processes of a group that are no zombies (proc(5): state and pgrp in ``stat``)."""
    members = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                stat = Path("/proc", entry, "stat").read_text(errors="replace")
                state, _parent, pgrp = stat.rpartition(")")[2].split()[:3]
                if int(pgrp) == group and state not in "ZX":
                    members.append(int(entry))
    return members


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)
