"""Commands, as the agent starts them and reports on them. Runs in the slot."""

from __future__ import annotations

import os

from sandbox_daemon.agent import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
    from resource import struct_rusage
    from typing import Any
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
_COMMANDS_OOM_SCORE = b"500"
_OWN_OOM_SCORE = b"0"


class Command:
    """One command under way.

    ``pipes`` are the inodes of its output pipes; ``kill_fd`` ends its group, -1 when it has none.
    """

    def __init__(self, call_id: int, pid: int, pipes: frozenset[tuple[int, int]], kill_fd: int) -> None:
        self.call_id = call_id
        self.pid = pid
        self.pipes = pipes
        self.kill_fd = kill_fd
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
        """The EXITED message. Nothing is done for the command after it."""
        if self.kill_fd >= 0:
            os.close(self.kill_fd)
            self.kill_fd = -1
        fixed = (self.status, self.cpu_us, self.peak_kib, self.swept, int(self.held))
        return protocol.pack(protocol.EXITED, self.call_id, fixed)


class Birthplace:
    """What a command is born with and the agent must not keep.

    Its group, and its place in line before the OOM killer: a process inherits both, so the agent takes them
    on for the moment of a spawn. ``home`` is ``cgroup.procs`` of the agent's own group, or -1.
    """

    def __init__(self, home: int) -> None:
        self._home = home
        try:
            self._score = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            self._score = -1  # a container may forbid it

    def enter(self, group: int) -> None:
        """Takes both on. ``OSError`` when the group cannot be entered; then nothing has changed."""
        if group >= 0:
            os.write(group, b"0")
        self._set_score(_COMMANDS_OOM_SCORE)

    def leave(self, group: int) -> None:
        """Puts both off."""
        self._set_score(_OWN_OOM_SCORE)
        if group >= 0:
            try:
                os.write(self._home, b"0")
            except OSError:  # an agent that stays there dies with the command: better now, and told
                raise SystemExit("the agent could not get back to its own group") from None

    def _set_score(self, score: bytes) -> None:
        if self._score >= 0:
            try:
                os.write(self._score, score)
            except OSError:
                os.close(self._score)
                self._score = -1


def spawn(
    call_id: int,
    shell: bytes,
    command: bytes,
    *,
    environment: dict[bytes, bytes],
    stdio: tuple[int, int, int],
    extra: int,
    birthplace: Birthplace,
    group: tuple[int, int],
) -> Command:
    """Starts ``shell -c command`` in its own session, in the current directory.

    ``group`` are the descriptors of its ``cgroup.procs`` and ``cgroup.kill``, or -1 each.
    """
    actions = [(os.POSIX_SPAWN_DUP2, stdio[target], target) for target in (0, 1, 2)]
    if extra >= 0:
        actions.append((os.POSIX_SPAWN_DUP2, extra, protocol.COMMAND_FD))
    pipes = frozenset(identity(os.fstat(stdio[target])) for target in (1, 2))
    return launch(
        call_id,
        shell,
        [shell, b"-c", command],
        environment=environment,
        actions=actions,
        pipes=pipes,
        birthplace=birthplace,
        group=group,
    )


def launch(
    call_id: int,
    program: bytes,
    argv: list[bytes],
    *,
    environment: dict[bytes, bytes],
    actions: Sequence[tuple[Any, ...]],
    pipes: frozenset[tuple[int, int]],
    birthplace: Birthplace,
    group: tuple[int, int],
) -> Command:
    """Starts a program in its own session and group; see :func:`spawn`."""
    kill_fd = os.dup(group[1]) if group[1] >= 0 else -1  # once it runs, nothing may be refused any more
    try:
        birthplace.enter(group[0])
        try:
            pid = os.posix_spawn(
                program,
                argv,
                environment,
                file_actions=actions,
                setsid=True,
                setsigdef=_DEFAULT_SIGNALS,
            )
        finally:
            birthplace.leave(group[0])
    except OSError:
        if kill_fd >= 0:
            os.close(kill_fd)
        raise
    return Command(call_id, pid, pipes, kill_fd)


def identity(status: os.stat_result) -> tuple[int, int]:
    """What tells a file from all others."""
    return status.st_dev, status.st_ino
