"""The processes of a slot besides the agent: reaped, counted, and ended. Runs in the slot.

The agent is parent or foster parent of every process of its slot (PID 1 of the namespace, or subreaper), so
``ECHILD`` from wait is the proof that nothing runs any more.

A command that has the slot to itself ends with a sweep of everything: ``kill(-1)``, by which the kernel
signals the whole PID namespace under its task list lock; a fork under way fails once its signal is pending,
so nothing can hop out of it. A command that shares the slot has a control group of its own: that is killed,
and the daemon sees to it that it is empty. Not every command has one, because entering and leaving it takes a
lock that every fork of the machine waits for.
"""

from __future__ import annotations

import os

from sandbox_daemon.agent import commands, protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Iterator
    from resource import struct_rusage
else:
    import _signal  # `signal` would pull `enum` into every agent

_WALL = 0x40000000
"""Also children that deliver no SIGCHLD: "no child left" must mean none of any kind. linux/wait.h."""
_MAX_PROBES = 4096
"""Descriptors looked at to tell who holds an output pipe; above it the answer is "held"."""


class Herd:
    """All processes of the slot besides the agent. ``mode``: how everything is swept."""

    def __init__(self, mode: int) -> None:
        self._mode = mode
        self._alone: commands.Command | None = None
        self._grouped: dict[int, commands.Command] = {}
        self._swept: list[commands.Command] = []

    def add(self, command: commands.Command) -> None:
        """It was started."""
        if command.kill_fd < 0:
            self._alone = command
        else:
            self._grouped[command.pid] = command

    def add_session(self, command: commands.Command) -> None:
        """It was started, and no command's end is its end, but for a sweep of the whole slot."""
        self._grouped[command.pid] = command

    def leader(self, call_id: int) -> int:
        """The process of a session; -1 when it has ended."""
        for pid, command in self._grouped.items():
            if command.call_id == call_id:
                return pid
        return -1

    def reap(self) -> list[commands.Command]:
        """Collects who has died; the commands among them, ready to report."""
        ended: list[commands.Command] = []
        alone_ended = False
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG | _WALL)
            except ChildProcessError:
                return ended + (self._ended() if alone_ended else [])
            if pid == 0:
                break
            grouped = self._grouped.pop(pid, None)
            if grouped is None:
                alone_ended = self._count(pid, status, usage) or alone_ended
            else:
                grouped.status = status
                grouped.add_usage(usage)
                ended.append(grouped)
        return ended + self._end_alone() if alone_ended else ended

    def sweep(self, call_id: int) -> list[commands.Command]:
        """Ends one command, and with it everything, if it had the slot to itself; what is ready to report.

        The end of a command with a group is reaped and reported like any other.
        """
        for command in self._grouped.values():
            if command.call_id == call_id and command.kill_fd >= 0:
                os.write(command.kill_fd, b"1")
                return []
        if any(command.kill_fd >= 0 for command in self._grouped.values()):
            return []
        return self._sweep()

    def signal(self, call_id: int, number: int) -> None:
        """To the command's process group; a group that is gone is fine."""
        for command in (self._alone, *self._grouped.values()):
            if command is not None and command.call_id == call_id:
                _signal_group(command.pid, number)

    def count(self) -> int:
        """Children that are alive or not yet reaped; those of other parents are found by the next reap."""
        return sum(1 for _ in descendants(os.getpid()))

    def leave(self) -> None:
        """Takes along what the kernel would not, when the daemon is gone."""
        if self._mode != protocol.SWEEP_NAMESPACE:
            self._sweep()

    def _end_alone(self) -> list[commands.Command]:
        """The shell has ended, and others live."""
        assert self._alone is not None
        self._alone.held = self._held(self._alone.pipes)
        return self._sweep()

    def _sweep(self) -> list[commands.Command]:
        while True:
            self._kill()
            try:
                self._collect()
            except ChildProcessError:
                return self._ended()

    def _ended(self) -> list[commands.Command]:
        command, self._alone = self._alone, None
        swept, self._swept = self._swept, []
        return swept if command is None else [*swept, command]

    def _count(self, pid: int, status: int, usage: struct_rusage) -> bool:
        if self._alone is None:
            return False
        self._alone.add_usage(usage)
        if pid != self._alone.pid:
            return False
        self._alone.status = status
        return True

    def _collect(self) -> None:
        """Waits until one round of killed processes is reaped. ChildProcessError: nothing is left."""
        if self._mode == protocol.SWEEP_DESCENDANTS:
            # Whoever forked while we walked /proc is found by the next round, so no wait may block on it.
            self._reaped(os.wait4(-1, _WALL))
            return
        while True:
            self._reaped(os.wait4(-1, _WALL))

    def _reaped(self, found: tuple[int, int, struct_rusage]) -> None:
        pid, status, usage = found
        session = self._grouped.pop(pid, None)
        if session is not None:
            session.status = status
            self._swept.append(session)
        elif not self._count(pid, status, usage) and self._alone is not None:
            self._alone.swept += 1

    def _kill(self) -> None:
        if self._mode != protocol.SWEEP_DESCENDANTS:
            try:
                os.kill(-1, _signal.SIGKILL)
            except ProcessLookupError:
                return
            return
        for pid in list(descendants(os.getpid())):
            try:
                os.kill(pid, _signal.SIGKILL)
            except OSError:
                continue

    def _held(self, pipes: frozenset[tuple[int, int]]) -> bool:
        probes = 0
        for pid in descendants(os.getpid()):
            folder = f"/proc/{pid}/fd"
            try:
                names = os.listdir(folder)
            except OSError:
                continue
            for name in names:
                probes += 1
                if probes > _MAX_PROBES or _file_behind(f"{folder}/{name}") in pipes:
                    return True
        return False


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except OSError:
        return


def _file_behind(path: str) -> tuple[int, int]:
    try:
        return commands.identity(os.stat(path))
    except OSError:
        return -1, -1


def descendants(pid: int) -> Iterator[int]:
    """Process ids below ``pid``, as /proc shows them at this moment."""
    pending = [pid]
    while pending:
        parent = pending.pop()
        try:
            threads = os.listdir(f"/proc/{parent}/task")
        except OSError:
            continue
        for thread in threads:
            children = _children(parent, thread)
            pending.extend(children)
            yield from children


def _children(pid: int, thread: str) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []
