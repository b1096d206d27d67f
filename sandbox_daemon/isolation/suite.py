"""PURE: the hostile suite a probe runs in a throw-away slot, and what each failure means.

Every attempt is harmless where it succeeds: a sysctl is written with its own value, a file is made and
removed. The script prints one line per attempt, ``name held`` or ``name open``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sandbox_daemon.isolation.levels import Level
from sandbox_daemon.isolation.policy import SlotLimits

HELD: Final = "held"

_ATTEMPTS: Final = {
    "shadow": "cat /etc/shadow",
    "sysctl": 'v=$(cat /proc/sys/kernel/core_pattern); printf "%s\\n" "$v" > /proc/sys/kernel/core_pattern',
    "system": "touch /usr/.probe && rm /usr/.probe",
    "remount": "mount -o remount,bind,rw /usr",
    "peers": "kill -0 {daemon_pid}",
    "processes": '[ "$(ls /proc | grep -c "^[0-9]")" -gt 8 ]',
    "namespaces": "unshare --user true",
    "variables": '[ -n "${daemon_variable}" ] || grep -q {daemon_variable}= /proc/1/environ',
    "filter": 'grep -qv "^Seccomp:.2" <<< "$(grep ^Seccomp: /proc/self/status)"',
    "privileges": 'grep -qv "^NoNewPrivs:.1" <<< "$(grep ^NoNewPrivs: /proc/self/status)"',
    "network": "exec 3<>/dev/tcp/127.0.0.1/{port}",
    "disk": "head -c {disk_bytes} /dev/zero > fill; s=$?; rm -f fill; [ $s = 0 ]",
    "memory": '{interpreter} -c "bytearray({memory_bytes})"',
    "process count": "{interpreter} -c '{forks}' {processes}",
}
"""Succeeding is failing. The last three go past the limits of :data:`LIMITS`."""

LIMITS: Final = SlotLimits(
    max_processes=48, memory_bytes=128 << 20, disk_bytes=16 << 20, max_files=1024, max_file_bytes=1 << 30
)
"""Small, so that going past them is cheap."""
_FORKS: Final = """
import os, signal, sys
pids = []
try:
    for _ in range(int(sys.argv[1])):
        pid = os.fork()
        if pid == 0:
            signal.pause()
        pids.append(pid)
finally:
    for pid in pids:
        os.kill(pid, 9)
"""

_MUST_HOLD: Final[Mapping[Level, frozenset[str]]] = {
    Level.NS: frozenset(_ATTEMPTS) - {"filter", "disk", "memory", "process count"},
    Level.UID: frozenset({"shadow", "sysctl", "system", "remount", "peers", "variables", "privileges"}),
    Level.NONE: frozenset(),
}

PROBE_VARIABLE: Final = "HERMES_PROBE"


def build_script(*, daemon_pid: int, port: int, interpreter: str) -> str:
    """The suite, for ``bash -c``. It ends with a process that tries to outlive it."""
    words = {
        "daemon_pid": daemon_pid,
        "daemon_variable": PROBE_VARIABLE,
        "disk_bytes": 2 * LIMITS.disk_bytes,
        "forks": _FORKS,
        "interpreter": interpreter,
        "memory_bytes": 2 * LIMITS.memory_bytes,
        "port": port,
        "processes": 2 * LIMITS.max_processes,
    }
    lines = []
    for name, attempt in _ATTEMPTS.items():
        command = attempt.format(**words)
        lines.append(f"if ( {command} ) >/dev/null 2>&1; then echo {name} open; else echo {name} held; fi")
    return "\n".join([*lines, "setsid sleep 3600 &", "exit 0"])


def read_answers(output: str) -> dict[str, bool]:
    """Which attempts were held; one that did not answer counts as open."""
    answers = dict.fromkeys(_ATTEMPTS, False)
    for line in output.splitlines():
        name, _, verdict = line.rpartition(" ")
        if name in answers:
            answers[name] = verdict == HELD
    return answers


def breaches(level: Level, answers: Mapping[str, bool]) -> tuple[str, ...]:
    """What a level promises and this host did not hold."""
    return tuple(sorted(name for name in _MUST_HOLD[level] if not answers[name]))
