"""Which processes a slot has now, as this host numbers them."""

from __future__ import annotations

import os
from typing import Final

from attrs import frozen

from hermes_trio.wire.operations import SlotStatusReport
from sandbox_daemon.isolation.processes import descendants

MAX_PROCESSES: Final = 64
MAX_COMMAND_CHARS: Final = 200


@frozen
class _Process:
    pid: int
    age_s: float
    command: str


def census(agent_pid: int, *, uptime_s: float | None = None) -> SlotStatusReport:
    """What runs below a slot's agent, oldest first.

    Reads a few small files of ``/proc`` for each process; a slot's limit of processes bounds them.

    Args:
        agent_pid: the agent's, as we see it.
        uptime_s: of this host; ``None``: now.

    Source: proc_pid_stat(5), field 22.
    """
    now_s = _uptime_s() if uptime_s is None else uptime_s
    found = [each for pid in descendants(agent_pid) if (each := _process(pid, now_s)) is not None]
    found.sort(key=lambda each: (-each.age_s, each.pid))
    told = found[:MAX_PROCESSES]
    return SlotStatusReport(
        pids=tuple(each.pid for each in told),
        ages_s=tuple(each.age_s for each in told),
        commands=tuple(each.command for each in told),
        total=len(found),
    )


def _process(pid: int, now_s: float) -> _Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read(4 * MAX_COMMAND_CHARS)
    except OSError:
        return None
    if fields[0] in b"ZX":
        return None
    started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    text = command.rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
    return _Process(pid, max(0.0, now_s - started_s), text[:MAX_COMMAND_CHARS])


def _uptime_s() -> float:
    with open("/proc/uptime", "rb") as file:
        return float(file.read().split()[0])
