"""Processes that outlive the call that started them: shells, terminals, background jobs. Runs in the slot.

A session's first process, the leader, is born in a control group of its own like a command that shares its
slot, and the herd reports its exit like that of any command. What is special is here: descriptors beyond the
three streams, a controlling terminal, and what a shell's caller asks about the shell's children.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from sandbox_daemon.agent import commands, herd, protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # `signal` would pull `enum` into every agent

_MAX_PROBES = 4096
"""Descriptors looked at to tell who holds a pipe; above it every pipe counts as held."""
_START_TIME = 19
"""Index of ``starttime`` among the members of /proc/PID/stat behind the name; proc_pid_stat(5), member 22."""


_open_ends: dict[bytes, int] = {}
"""The other ends of terminals whose leader is still to come: without one open, a master reads as hung up."""


def start(
    call_id: int,
    argv: list[bytes],
    *,
    environment: dict[bytes, bytes],
    terminal: bytes,
    given: list[int],
    birthplace: commands.Birthplace,
    group: tuple[int, int],
) -> commands.Command:
    """Starts a leader in the current directory, in a session of its own.

    ``given`` become its descriptors 0, 1, 2 and then ``FIRST_EXTRA_FD`` and up. With a ``terminal``, the path
    of one, the three streams are that, and it is the controlling terminal: a session leader gets the first
    that it opens.
    """
    if terminal:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, terminal, os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, 0, 2),
        ]
    else:
        # From the top: what comes in has low numbers, and none of them may be overwritten before its turn.
        targets = [0, 1, 2, *range(protocol.FIRST_EXTRA_FD, protocol.FIRST_EXTRA_FD + len(given) - 3)]
        actions = [(os.POSIX_SPAWN_DUP2, *pair) for pair in reversed(list(zip(given, targets)))]  # noqa: B905
    try:
        return commands.launch(
            call_id,
            argv[0],
            argv[1:],
            environment=environment,
            actions=actions,
            pipes=frozenset(),
            birthplace=birthplace,
            group=group,
        )
    finally:
        if terminal in _open_ends:
            os.close(_open_ends.pop(terminal))


def open_terminal(rows: int, columns: int) -> tuple[int, bytes]:
    """A pseudo-terminal of this size: its master, and the path by which a leader opens the other end."""
    master, slave = os.openpty()
    try:
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        settings = termios.tcgetattr(slave)
        settings[0] |= 0x4000  # IUTF8: erasing takes whole characters
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        path = os.ttyname(slave).encode()
    except OSError:
        os.close(master)
        os.close(slave)
        raise
    _open_ends[path] = slave
    return master, path


def interrupt(leader: int, number: int, since: int) -> None:
    """SIGINT to a shell, and ``number`` to its descendants that were started at ``since`` or later.

    Descendants first: a shell takes the interrupt to heart only when its child died of the same.
    """
    for pid in list(herd.descendants(leader)):
        if _started_at(pid) >= since:
            _send(pid, number)
            _send(pid, _signal.SIGCONT)
    _send(leader, _signal.SIGINT)
    _send(leader, _signal.SIGCONT)


def held(leader: int) -> int:
    """Which of the leader's extra descriptors others of the slot hold, as a mask; in doubt all of them."""
    wanted = {}
    for index in range(protocol.MAX_DESCRIPTORS):
        try:
            status = os.stat(f"/proc/{leader}/fd/{protocol.FIRST_EXTRA_FD + index}")
        except OSError:
            continue
        wanted[commands.identity(status)] = 1 << index
    mask = probes = 0
    for pid in herd.descendants(os.getpid()):
        if pid == leader:
            continue
        folder = f"/proc/{pid}/fd"
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            probes += 1
            if probes > _MAX_PROBES:
                return (1 << protocol.MAX_DESCRIPTORS) - 1
            try:
                mask |= wanted.get(commands.identity(os.stat(f"{folder}/{name}")), 0)
            except OSError:
                continue
    return mask


def _started_at(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b") ")[2].split()[_START_TIME])
    except (OSError, IndexError, ValueError):
        return -1


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        return
