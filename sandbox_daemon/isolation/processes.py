"""Processes of this machine, as ``/proc`` tells of them. What ends while it is read is left out.

Source: proc_pid_status(5), proc_pid_task_tid_children(5).
"""

from __future__ import annotations

import os
from collections.abc import Iterator


def descendants(pid: int) -> Iterator[int]:
    """Every process below this one, as it is now."""
    pending = [pid]
    while pending:
        parent = pending.pop()
        try:
            with open(f"/proc/{parent}/task/{parent}/children", "rb") as file:
                children = [int(word) for word in file.read().split()]
        except OSError:
            continue
        pending.extend(children)
        yield from children


def living() -> Iterator[tuple[int, frozenset[int]]]:
    """Every process that is not dead, with its uids: real, effective, saved, and of the file system.

    The owner of its folder in ``/proc`` would not do: that is the effective one alone.
    """
    for name in filter(str.isdigit, os.listdir("/proc")):
        status = _status(int(name))
        if status is not None and not _is_dead(status):
            yield int(name), frozenset(map(int, _words(status, b"Uid:")))


def is_dead(pid: int) -> bool:
    """Whether it has ended, collected or not."""
    status = _status(pid)
    return status is None or _is_dead(status)


def _is_dead(status: bytes) -> bool:
    return _words(status, b"State:")[:1] in ([b"Z"], [b"X"])


def _status(pid: int) -> bytes | None:
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return file.read()
    except OSError:
        return None


def _words(status: bytes, name: bytes) -> list[bytes]:
    """Of one line. Only a process' own name may hold anything, and newlines in it are escaped."""
    return status.partition(b"\n" + name)[2].partition(b"\n")[0].split()
