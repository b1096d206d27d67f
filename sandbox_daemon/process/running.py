"""A command under way: its pipes, what is kept of them, and the moments that matter."""

from __future__ import annotations

import os
import select
from functools import partial
from typing import Final

import trio
from attrs import evolve

from sandbox_daemon.agent import protocol
from sandbox_daemon.isolation.cgroups import CallGroup
from sandbox_daemon.process.command import (
    MAX_INLINE_COMMAND,
    CommandSpec,
    Exit,
    Refusal,
    Sink,
)
from sandbox_daemon.process.link import AgentLink, Message
from sandbox_daemon.process.output import BoundedCapture, Order

_FINAL_DRAIN_BYTES: Final = 4 * 1024 * 1024
"""A pipe holds 64 KiB, 1 MiB when its writer asked for it; this only guards against a surprise."""

_chunk = bytearray(64 * 1024)
"""Larger reads were slower and stalled the loop longer."""
_view = memoryview(_chunk)


class Running:
    """One command. Made by :func:`start`; ``close`` it whatever happens.

    ``noticed`` is set at the first event a supervisor must act on (exit, drain cap, lost link), ``finished``
    once nothing more will come: the exit was reported and nothing of the command lives, or the agent is gone.

    Where the command has a group of its own, the kernel says whether something of it lives; elsewhere the
    agent reports the exit only after its sweep.
    """

    def __init__(
        self,
        link: AgentLink,
        call_id: int,
        spec: CommandSpec,
        pipes: tuple[int, int],
        group: CallGroup | None,
    ) -> None:
        self._link = link
        self._pipes = list(pipes)
        self._group = group
        self._began_us = group.cpu_us() if group is not None else 0
        self._sink = spec.sink
        self.call_id = call_id
        self.stdout = BoundedCapture(spec.max_output_bytes, hashed=spec.hashed)
        self.stderr = BoundedCapture(spec.max_output_bytes, hashed=spec.hashed)
        self.order = Order()
        self._captures = dict(zip(pipes, ((1, self.stdout), (2, self.stderr)), strict=True))
        self.spec = spec
        self._heard_at = trio.current_time()
        self._paused = False
        self.noticed = trio.Event()
        self.finished = trio.Event()
        self.report: Exit | Refusal | None = None
        """``None`` while it runs, and when the link was lost."""
        self.overflowed = False

    def watch(self) -> None:
        """From now on output is taken as it comes, so that the command never blocks on a full pipe."""
        for pipe in self._pipes:
            self._link.watch(pipe, partial(self._take, pipe))

    @property
    def heard_at(self) -> float:
        """When it last printed something, as far as that was noticed; at first, when it was started.

        A command whose output nobody takes is not silent: it is kept waiting.
        """
        return trio.current_time() if self._paused else self._heard_at

    def _pause(self, sink: Sink) -> None:
        """Nobody takes the output: leave it in the pipes, whose writers then wait."""
        for pipe in self._pipes:
            self._link.unwatch(pipe)
        self._paused = True
        sink.resume = self._resume

    def _resume(self) -> None:
        self._paused = False
        self._heard_at = trio.current_time()
        self.watch()

    def close(self) -> None:
        """Gives up the pipes; a writer that is left gets SIGPIPE."""
        self._link.forget(self.call_id)
        self._forget_group()
        for pipe in list(self._pipes):
            self._drop(pipe)

    def receive(self, message: Message | None) -> None:
        """The link's last word on this command."""
        self.report = None if message is None else _understood(message)
        self.noticed.set()
        if isinstance(self.report, Exit) and self._group is not None:
            self._settle(self.report, self._group)
        else:
            self._finish()

    def _settle(self, report: Exit, group: CallGroup) -> None:
        """The shell has ended; what it left behind is killed, and waited for."""
        if group.populated():
            self.report = evolve(report, swept=group.count(), held=any(map(_has_writer, self._pipes)))
            group.kill()
            self._link.watch(group.events, self._look_again, events=select.EPOLLPRI)
        self._look_again()

    def _look_again(self) -> None:
        group, report = self._group, self.report
        if group is None or not isinstance(report, Exit) or group.populated():
            return
        self.report = evolve(report, cpu_us=group.cpu_us() - self._began_us)
        self._forget_group()
        self._finish()

    def _forget_group(self) -> None:
        if self._group is not None:
            self._link.unwatch(self._group.events)
            self._group = None

    def _finish(self) -> None:
        for pipe in list(self._pipes):
            self._drain(pipe)
        self.finished.set()

    def _take(self, pipe: int) -> bool:
        """One read. False: nothing there now, or never again."""
        try:
            size = os.readv(pipe, [_chunk])
        except BlockingIOError:
            return False
        if size == 0:
            self._drop(pipe)
            return False
        stream, capture = self._captures[pipe]
        capture.feed(_view[:size])
        self.order.note(stream, size)
        self._heard_at = trio.current_time()
        if self._sink is not None and not self._sink.feed(stream, _view[:size]):
            self._pause(self._sink)
        if self.stdout.total + self.stderr.total > self.spec.max_drained_bytes and not self.overflowed:
            self.overflowed = True
            self.noticed.set()
        return True

    def _drain(self, pipe: int) -> None:
        """What was written before the exit is there now; nobody is left who could write more."""
        _, capture = self._captures[pipe]
        end = capture.total + _FINAL_DRAIN_BYTES
        while capture.total < end and self._take(pipe):
            pass
        if pipe in self._pipes:
            self._drop(pipe)

    def _drop(self, pipe: int) -> None:
        self._link.unwatch(pipe)
        self._pipes.remove(pipe)
        os.close(pipe)


def _has_writer(pipe: int) -> bool:
    """Whether somebody has the other end open."""
    poll = select.poll()
    poll.register(pipe, 0)
    return not poll.poll(0)  # without a writer it is hung up, which is told unasked


def _understood(message: Message) -> Exit | Refusal | None:
    """``None`` for an answer that no agent of ours gives to a SPAWN: then it is lost to us."""
    message.drop()
    if message.kind == protocol.EXITED:
        status, cpu_us, peak_kib, swept, held = message.fixed
        return Exit(status=status, cpu_us=cpu_us, peak_kib=peak_kib, swept=swept, held=bool(held))
    if message.kind == protocol.FAILED:
        return Refusal(reason=message.fixed[0], code=message.fixed[1])
    return None


def start(link: AgentLink, spec: CommandSpec, group: CallGroup | None = None) -> Running:
    """Asks the agent to start a command, in ``group`` if there is one. ``AgentLostError`` when it is gone."""
    flags = 0
    ours: list[int] = []
    theirs: list[int] = []
    try:
        if spec.stdin or spec.stdin_fd >= 0:
            flags |= protocol.SPAWN_STDIN
            theirs.append(os.dup(spec.stdin_fd) if spec.stdin_fd >= 0 else memory_file(spec.stdin))
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
        elif spec.code_fd >= 0:
            flags |= protocol.SPAWN_COMMAND_FD
            theirs.append(os.dup(spec.code_fd))
        lent = []
        if group is not None:
            flags |= protocol.SPAWN_GROUP
            lent = [group.procs, group.kill_fd]
        call_id = link.next_id()
        strings = (spec.shell, spec.cwd, spec.environment, command)
        link.send(protocol.pack(protocol.SPAWN, call_id, (flags,), strings), theirs + lent)
        running = Running(link, call_id, spec, (ours[0], ours[1]), group)
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
