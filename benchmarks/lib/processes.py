"""What ``/proc`` tells about processes: whose child, since when, how much memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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
    return Process(pid=pid, parent=int(fields[1]), started=int(fields[19]), name=name)


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


def own_bytes(pid: int) -> int:
    """Memory that the process has allocated (the kernel's ``Anonymous``); 0 when it has ended.

    Not the resident set: that counts pages of libraries, which come and go with what else runs here.
    """
    try:
        rollup = (PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return 0
    _, _, rest = rollup.partition("\nAnonymous:")
    return int(rest.split(maxsplit=1)[0]) * 1024 if rest else 0


def command_line(pid: int) -> list[str]:
    """The words it was started with; none when it has ended."""
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return [os.fsdecode(word) for word in words if word]


def daemon_data_dir(words: Sequence[str]) -> str | None:
    """Where a sandbox daemon with this command line keeps its data; ``None`` when it is none."""
    names = {word.rpartition("/")[2] for word in words[:4]}
    if not names & {"sandbox_daemon", "sandbox-daemon"} or "--data-dir" not in words[:-1]:
        return None
    return words[words.index("--data-dir") + 1]


def cpu_s(pid: int) -> float:
    """Processor time that the process has used, of all its threads; 0 when it has ended."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
