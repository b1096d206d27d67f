"""A command under way: its pipes, what is kept of them, and the moments that matter."""

from __future__ import annotations

import os
from functools import partial
from typing import Final

import trio

from sandbox_daemon.agent import protocol
from sandbox_daemon.process.command import (
    DRAIN_CAP_BYTES,
    MAX_INLINE_COMMAND,
    CommandSpec,
    Exit,
    Refusal,
)
from sandbox_daemon.process.link import AgentLink, Message
from sandbox_daemon.process.output import BoundedCapture

_FINAL_DRAIN_BYTES: Final = 4 * 1024 * 1024
"""A pipe holds 64 KiB, 1 MiB when its writer asked for it; this only guards against a surprise."""

_chunk = bytearray(64 * 1024)
"""Larger reads were slower and stalled the loop longer."""
_view = memoryview(_chunk)


class Running:
    """One command. Made by :func:`start`; ``close`` it whatever happens.

    ``noticed`` is set at the first event a supervisor must act on (exit, drain cap, lost link), ``finished``
    once nothing more will come: the agent has reported the exit, or is gone.
    """

    def __init__(self, link: AgentLink, call_id: int, spec: CommandSpec, pipes: tuple[int, int]) -> None:
        self._link = link
        self._pipes = list(pipes)
        self.call_id = call_id
        self.stdout = BoundedCapture(spec.max_output_bytes)
        self.stderr = BoundedCapture(spec.max_output_bytes)
        self._captures = dict(zip(pipes, (self.stdout, self.stderr), strict=True))
        self.noticed = trio.Event()
        self.finished = trio.Event()
        self.report: Exit | Refusal | None = None
        """``None`` while it runs, and when the link was lost."""
        self.overflowed = False

    def watch(self) -> None:
        """From now on output is taken as it comes, so that the command never blocks on a full pipe."""
        for pipe in self._pipes:
            self._link.watch(pipe, partial(self._take, pipe))

    def close(self) -> None:
        """Gives up the pipes; a writer that is left gets SIGPIPE."""
        self._link.forget(self.call_id)
        for pipe in list(self._pipes):
            self._drop(pipe)

    def receive(self, message: Message | None) -> None:
        """The link's last word on this command."""
        self.report = None if message is None else _understood(message)
        for pipe in list(self._pipes):
            self._drain(pipe)
        self.finished.set()
        self.noticed.set()

    def _take(self, pipe: int) -> bool:
        """One read. False: nothing there now, or never again."""
        try:
            size = os.readv(pipe, [_chunk])
        except BlockingIOError:
            return False
        if size == 0:
            self._drop(pipe)
            return False
        self._captures[pipe].feed(_view[:size])
        if self.stdout.total + self.stderr.total > DRAIN_CAP_BYTES and not self.overflowed:
            self.overflowed = True
            self.noticed.set()
        return True

    def _drain(self, pipe: int) -> None:
        """What was written before the exit is there now; nobody is left who could write more."""
        capture = self._captures[pipe]
        end = capture.total + _FINAL_DRAIN_BYTES
        while capture.total < end and self._take(pipe):
            pass
        if pipe in self._pipes:
            self._drop(pipe)

    def _drop(self, pipe: int) -> None:
        self._link.unwatch(pipe)
        self._pipes.remove(pipe)
        os.close(pipe)


def _understood(message: Message) -> Exit | Refusal | None:
    """``None`` for an answer that no agent of ours gives to a SPAWN: then it is lost to us."""
    message.drop()
    if message.kind == protocol.EXITED:
        status, cpu_us, peak_kib, swept, held = message.fixed
        return Exit(status=status, cpu_us=cpu_us, peak_kib=peak_kib, swept=swept, held=bool(held))
    if message.kind == protocol.FAILED:
        return Refusal(reason=message.fixed[0], code=message.fixed[1])
    return None


def start(link: AgentLink, spec: CommandSpec) -> Running:
    """Asks the agent to start a command. ``AgentLostError`` when it is gone."""
    flags = 0
    ours: list[int] = []
    theirs: list[int] = []
    try:
        if spec.stdin:
            flags |= protocol.SPAWN_STDIN
            theirs.append(memory_file(spec.stdin))
        for _ in range(2):
            reader, writer = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(reader, False)
            ours.append(reader)
            theirs.append(writer)
        command = spec.command
        if len(command) > MAX_INLINE_COMMAND:
            flags |= protocol.SPAWN_COMMAND_FD
            theirs.append(memory_file(command))
            command = b". /proc/self/fd/%d" % protocol.COMMAND_FD
        call_id = link.next_id()
        strings = (spec.shell, spec.cwd, spec.environment, command)
        link.send(protocol.pack(protocol.SPAWN, call_id, (flags,), strings), theirs)
        running = Running(link, call_id, spec, (ours[0], ours[1]))
        ours.clear()
        link.expect(call_id, running.receive)
        return running
    finally:
        for descriptor in (*ours, *theirs):
            os.close(descriptor)


def memory_file(content: bytes) -> int:
    """A descriptor from which ``content`` can be read from the start."""
    descriptor = os.memfd_create("hermes", os.MFD_CLOEXEC)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
