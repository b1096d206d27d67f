"""Commands: started, watched, and ended with everything they left behind. Runs in the slot.

The agent is parent or foster parent of every process of its slot (PID 1 of the namespace, or subreaper), so
``ECHILD`` from wait is the proof that nothing runs any more. A sweep is ``kill(-1)``: the kernel signals the
whole PID namespace under its task list lock, and a fork under way fails once its signal is pending, so
nothing can hop out of it.
"""

from __future__ import annotations

import os

from sandbox_daemon.agent import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Iterator
    from resource import struct_rusage
else:
    import _signal  # `signal` would pull `enum` into every agent

_DEFAULT_SIGNALS = (
    _signal.SIGINT,
    _signal.SIGPIPE,
    _signal.SIGXFSZ,
    _signal.SIGTERM,
    _signal.SIGHUP,
    _signal.SIGQUIT,
    _signal.SIGCHLD,
)
"""Python ignores SIGPIPE and SIGXFSZ, and ignored signals are inherited over exec."""
_WALL = 0x40000000
"""Also children that deliver no SIGCHLD: "no child left" must mean none of any kind. linux/wait.h."""
_MAX_PROBES = 4096
"""Descriptors looked at to tell who holds an output pipe; above it the answer is "held"."""


class Command:
    """One command under way. ``pipes`` are the inodes of its output pipes."""

    def __init__(self, call_id: int, pid: int, pipes: frozenset[tuple[int, int]]) -> None:
        self.call_id = call_id
        self.pid = pid
        self.pipes = pipes
        self.status = 0
        self.cpu_us = 0
        self.peak_kib = 0
        self.swept = 0
        self.held = False

    def add_usage(self, usage: struct_rusage) -> None:
        """Counts one reaped process in: CPU adds up, the peak is that of the largest."""
        self.cpu_us += int((usage.ru_utime + usage.ru_stime) * 1e6)
        self.peak_kib = max(self.peak_kib, usage.ru_maxrss)

    def report(self) -> bytes:
        """The EXITED message."""
        fixed = (self.status, self.cpu_us, self.peak_kib, self.swept, int(self.held))
        return protocol.pack(protocol.EXITED, self.call_id, fixed)


def spawn(
    call_id: int,
    shell: bytes,
    command: bytes,
    *,
    environment: dict[bytes, bytes],
    stdio: tuple[int, int, int],
    extra: int,
) -> Command:
    """Starts ``shell -c command`` in its own session, in the current directory."""
    actions = [(os.POSIX_SPAWN_DUP2, stdio[target], target) for target in (0, 1, 2)]
    if extra >= 0:
        actions.append((os.POSIX_SPAWN_DUP2, extra, protocol.COMMAND_FD))
    pid = os.posix_spawn(
        shell,
        [shell, b"-c", command],
        environment,
        file_actions=actions,
        setsid=True,
        setsigdef=_DEFAULT_SIGNALS,
    )
    pipes = frozenset(_identity(os.fstat(stdio[target])) for target in (1, 2))
    return Command(call_id, pid, pipes)


class Herd:
    """All processes of the slot besides the agent."""

    def __init__(self, mode: int) -> None:
        self._mode = mode
        self.command: Command | None = None

    def reap(self) -> Command | None:
        """Collects who has died. The command, when it was among them, swept clean and ready to report."""
        ended = False
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG | _WALL)
            except ChildProcessError:
                return self._ended() if ended else None
            if pid == 0:
                break
            ended = self._count(pid, status, usage) or ended
        if not ended or self.command is None:
            return None
        self.command.held = self._held(self.command.pipes)
        return self.sweep()

    def sweep(self) -> Command | None:
        """Kills and reaps everything; returns the command that was under way, ready to report."""
        while True:
            self._kill()
            try:
                self._collect()
            except ChildProcessError:
                return self._ended()

    def signal(self, number: int) -> None:
        """To the command's process group; a group that is gone is fine."""
        if self.command is None:
            return
        try:
            os.killpg(self.command.pid, number)
        except OSError:
            return

    def count(self) -> int:
        """Children that are alive or not yet reaped; those of other parents are found by the next reap."""
        return sum(1 for _ in _descendants(os.getpid()))

    def _ended(self) -> Command | None:
        command, self.command = self.command, None
        return command

    def _count(self, pid: int, status: int, usage: struct_rusage) -> bool:
        if self.command is None:
            return False
        self.command.add_usage(usage)
        if pid != self.command.pid:
            return False
        self.command.status = status
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
        if not self._count(pid, status, usage) and self.command is not None:
            self.command.swept += 1

    def _kill(self) -> None:
        if self._mode != protocol.SWEEP_DESCENDANTS:
            try:
                os.kill(-1, _signal.SIGKILL)
            except ProcessLookupError:
                return
            return
        for pid in list(_descendants(os.getpid())):
            try:
                os.kill(pid, _signal.SIGKILL)
            except OSError:
                continue

    def _held(self, pipes: frozenset[tuple[int, int]]) -> bool:
        probes = 0
        for pid in _descendants(os.getpid()):
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


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _file_behind(path: str) -> tuple[int, int]:
    try:
        return _identity(os.stat(path))
    except OSError:
        return -1, -1


def _descendants(pid: int) -> Iterator[int]:
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
