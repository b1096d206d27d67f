"""Which agents this data directory has running: so that the next daemon can end those that a killed one left.

An agent leaves by itself when its socket ends. One that cannot, because it is stopped or hangs in the
kernel, would keep its namespace alive; nobody else knows of it then. A line names it for good: PID, start
time, boot.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Final

from hermes_trio.telemetry.log import get_logger

logger = get_logger(__name__)

_START_TIME: Final = 19
"""Field 22 of /proc/PID/stat, counted from the field after the name."""


def _identity(pid: int) -> str:
    """What tells this process from any other with its number. ``OSError``, ``IndexError``: it is gone."""
    stat = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{pid} {stat[_START_TIME].decode()} {boot}\n"


class Ledger:
    """One small file per slot in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self, slot: str, *pids: int) -> None:
        """The slot's agent, and the launcher around it, are these processes now."""
        with contextlib.suppress(OSError, IndexError):
            (self._folder / slot).write_text("".join(_identity(pid) for pid in pids))

    def forget(self, slot: str) -> None:
        """The slot's agent was shown dead."""
        with contextlib.suppress(FileNotFoundError):
            (self._folder / slot).unlink()

    def end_leftovers(self) -> int:
        """Kills what an earlier life left running; returns how many there were."""
        count = 0
        for path in sorted(self._folder.iterdir()):
            for line in path.read_text("ascii", "replace").splitlines(keepends=True):
                with contextlib.suppress(OSError, ValueError, IndexError):
                    count += _end(line)
            self.forget(path.name)
        if count:
            logger.warning(
                "processes of a daemon that was killed had not left; they were killed", processes=count
            )
        return count


def _end(line: str) -> bool:
    pid = int(line.split()[0])
    pidfd = os.pidfd_open(pid)
    try:
        if _identity(pid) != line:
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return True
    finally:
        os.close(pidfd)
