"""What daemon and agent say to each other: one message is one SEQPACKET datagram.

A message is ``kind (u8) | call id (u32) | body``; a body is a fixed struct, then byte strings with a u32
length each. Both sides use this file, so it is written for the oldest Python that may be found in a slot.
JSON was refused because its decoder pulls ``re`` into every agent (1.2 MiB each).

The daemon treats what the agent says as hostile: :func:`unpack` accepts exactly what :func:`pack` makes and
raises ``ValueError`` for anything else.
"""

from __future__ import annotations

import struct

VERSION = 3
MAX_MESSAGE_BYTES = 160 * 1024
"""SEQPACKET refuses what does not fit the send buffer, 208 KiB by default, bookkeeping included."""
MAX_INLINE_BYTES = 128 * 1024
"""File contents and commands up to here ride in the message; longer ones are passed as a descriptor."""

# daemon -> agent
CONFIGURE = 1
SPAWN = 2
SIGNAL = 3
SWEEP = 4
READ = 5
WRITE = 6
SURVEY = 7
SESSION = 32
TERMINAL = 33
INTERRUPT = 34
HOLDERS = 35
REOPEN = 8
"""Another workspace was laid over the one that was there."""

# agent -> daemon
HELLO = 64
EXITED = 65
FAILED = 66
CONTENT = 67
WRITTEN = 68
SURVEYED = 69
TERMINAL_MADE = 96
HELD = 97
INTERRUPTED = 98
REOPENED = 70

# why a FAILED
REASON_OS = 0
REASON_DENIED = 1
REASON_NOT_FOUND = 2
REASON_NOT_REGULAR = 3
REASON_TOO_LARGE = 4
REASON_NOT_DIRECTORY = 5
REASON_TOO_MANY = 6
"""Only from the worker: more entries than were asked for."""

# flags of READ
READ_WHOLE = 1
"""Refuse a file that is larger than what is asked for."""
READ_OPEN = 2
"""Hand the file over open, whatever its size."""

# flags of WRITE
WRITE_PASSED = 1
"""The content is in the descriptor."""
WRITE_APPEND = 2
WRITE_NO_PARENTS = 4
WRITE_MODE = 8
"""Give it the permission bits that came."""

# flags of SPAWN
SPAWN_STDIN = 1
"""The first descriptor is standard input; without it: ``/dev/null``."""
SPAWN_COMMAND_FD = 2
"""The descriptor after the outputs holds the command; the shell sources it as ``/proc/self/fd/9``."""
SPAWN_GROUP = 4
"""The last two descriptors are ``cgroup.procs`` and ``cgroup.kill`` of a group for this command alone."""

COMMAND_FD = 9
FIRST_EXTRA_FD = 50
"""Where a session's descriptors beyond the three streams begin: far above what the agent itself has open."""
MAX_DESCRIPTORS = 24
"""In one message."""

_HEAD = struct.Struct("!BI")
_LENGTH = struct.Struct("!I")

_FIXED = {
    # sweep mode, 1: calls have groups, RLIMIT_NPROC, RLIMIT_NOFILE, RLIMIT_FSIZE, RLIMIT_DATA
    CONFIGURE: struct.Struct("!BBQQQQ"),
    SPAWN: struct.Struct("!B"),  # flags
    SIGNAL: struct.Struct("!B"),  # signal number
    SWEEP: struct.Struct("!"),
    READ: struct.Struct("!QQB"),  # offset, bytes at most, flags
    WRITE: struct.Struct("!BI"),  # flags, permission bits
    SURVEY: struct.Struct("!"),
    REOPEN: struct.Struct("!"),
    REOPENED: struct.Struct("!"),
    HELLO: struct.Struct(
        "!HIIIQB"
    ),  # version, pid, uid, gid, effective capabilities, no_new_privs | seccomp << 1
    EXITED: struct.Struct("!iQQIB"),  # wait status, CPU in µs, peak in KiB, processes swept, pipe still held
    FAILED: struct.Struct("!BIQ"),  # reason, errno, size
    # size of the file, its mode, its time of change in ns, 1: content in the descriptor
    CONTENT: struct.Struct("!QIqB"),
    WRITTEN: struct.Struct("!Q"),  # bytes
    SESSION: struct.Struct("!B"),  # 1: the last two descriptors are its group's
    TERMINAL: struct.Struct("!HH"),  # rows, columns
    # call id of the session, signal for descendants, started at least so many ticks after the boot
    INTERRUPT: struct.Struct("!IBQ"),
    HOLDERS: struct.Struct("!I"),  # call id of the session
    TERMINAL_MADE: struct.Struct("!"),  # the master is passed along
    HELD: struct.Struct("!I"),  # mask of extra descriptors
    INTERRUPTED: struct.Struct("!"),
    SURVEYED: struct.Struct("!II"),  # processes besides the agent, 1: there are files
}
_STRINGS = {
    CONFIGURE: 3,
    SPAWN: 4,
    READ: 1,
    WRITE: 2,
    CONTENT: 1,
    SESSION: 4,
    TERMINAL_MADE: 1,
}
"""How many strings follow. CONFIGURE: root, environment, seccomp program (and, as descriptors, the
``cgroup.procs`` of the groups to enter, the slot's own first if calls have groups); SPAWN: shell, cwd,
environment, command; READ: path; WRITE: path, content; CONTENT: content; SESSION: program and arguments,
NUL-separated, cwd, environment, path of its terminal or empty (and, as descriptors, its streams and what else
it gets); TERMINAL_MADE: path of the terminal."""

# sweep modes
SWEEP_NAMESPACE = 1
"""``kill(-1)`` as PID 1: everything in the PID namespace."""
SWEEP_UID = 2
"""``kill(-1)`` as the slot's own uid."""
SWEEP_DESCENDANTS = 3
"""Children by ``/proc``, repeated until none is left; the agent is their subreaper."""


def pack(kind: int, call_id: int, fixed: tuple[int, ...] = (), strings: tuple[bytes, ...] = ()) -> bytes:
    """One message. ``fixed`` and ``strings`` are what the tables above say for the kind."""
    parts = [_HEAD.pack(kind, call_id), _FIXED[kind].pack(*fixed)]
    if len(strings) != _STRINGS.get(kind, 0):
        raise ValueError("wrong number of strings")
    for string in strings:
        parts.append(_LENGTH.pack(len(string)))
        parts.append(string)
    return b"".join(parts)


def unpack(data: bytes) -> tuple[int, int, tuple[int, ...], list[bytes]]:
    """Kind, call id, fixed members, strings. ``ValueError`` unless every byte is accounted for."""
    try:
        kind, call_id = _HEAD.unpack_from(data)
        layout = _FIXED[kind]
        fixed = layout.unpack_from(data, _HEAD.size)
        strings, end = _unpack_strings(data, _HEAD.size + layout.size, _STRINGS.get(kind, 0))
    except (struct.error, KeyError) as error:
        raise ValueError(f"malformed message: {error!r}") from None
    if end != len(data):
        raise ValueError("trailing bytes")
    return kind, call_id, fixed, strings


def _unpack_strings(data: bytes, start: int, count: int) -> tuple[list[bytes], int]:
    strings = []
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        if length > len(data) - start:
            raise ValueError("string runs past the end")
        strings.append(data[start : start + length])
        start += length
    return strings, start


def pack_environment(pairs: dict[str, str]) -> bytes:
    """NUL-separated ``NAME=value``, as in ``/proc/PID/environ``."""
    return b"\0".join(f"{name}={value}".encode("utf-8", "surrogateescape") for name, value in pairs.items())


def unpack_environment(data: bytes) -> dict[bytes, bytes]:
    """The reverse of :func:`pack_environment`."""
    environment = {}
    for item in data.split(b"\0"):
        name, separator, value = item.partition(b"=")
        if separator:
            environment[name] = value
    return environment
