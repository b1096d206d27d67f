"""What ``/proc`` tells about processes: whose child, which namespaces, how much memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

PROC = Path("/proc")


@frozen(kw_only=True)
class Process:
    """One process. ``pid`` and ``started`` together name it for ever; a pid alone is used again."""

    pid: int
    parent: int
    started: int
    """Clock ticks after boot."""
    name: str
    pid_namespace: str
    """Empty when it may not be read."""


def list_processes() -> dict[int, Process]:
    """All that are visible; those that end meanwhile are left out."""
    found = (_read_process(int(name)) for name in os.listdir(PROC) if name.isdigit())
    return {process.pid: process for process in found if process is not None}


def _read_process(pid: int) -> Process | None:
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The name stands in parentheses and may itself contain some: fields count from the last one.
    name, _, rest = stat.partition("(")[2].rpartition(")")
    fields = rest.split()
    if fields[0] == "Z":  # dead; only its parent has not looked yet
        return None
    return Process(
        pid=pid,
        parent=int(fields[1]),
        started=int(fields[19]),
        name=name,
        pid_namespace=_read_link(pid, "ns/pid"),
    )


def _read_link(pid: int, name: str) -> str:
    try:
        return os.readlink(PROC / str(pid) / name)
    except OSError:
        return ""


def descendants(pid: int, processes: Mapping[int, Process]) -> list[Process]:
    """Children, their children, and so on."""
    children: dict[int, list[Process]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += [process.pid for process in below]
    return found


def resident_bytes(pid: int) -> int:
    """Resident memory; 0 when the process has ended."""
    try:
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def is_running_module(pid: int, module: str) -> bool:
    """Whether it was started as ``python -m module``, or as a program of that name with dashes."""
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    names = {module.encode(), module.replace("_", "-").encode()}
    return any(word.rpartition(b"/")[2] in names for word in words[:4])
