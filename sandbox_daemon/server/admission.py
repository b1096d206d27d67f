"""Whether one more call is taken now. A no is an answer: it names the reason, and when to come back.

What counts is what a call would hold here and now: bytes of its session's calls that run or wait, calls of
its session that wait, the host's memory, and the disk below the slots' file systems. Giving slots back is
never refused: it frees.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import trio
from attrs import define, field, frozen

from hermes_trio.errors import Provenance
from sandbox_daemon.process.outcome import Outcome

MIN_AVAILABLE_BYTES: Final = 128 * 1024 * 1024
"""Below so much memory that the kernel could give out (``MemAvailable``), commands do not begin."""
MIN_FREE_BYTES: Final = 256 * 1024 * 1024
"""Below so much room for the slots' volumes, commands do not begin. Volumes are sparse: what a slot was
promised would be lost when it is written out. More than most disks take between two looks."""
_LOOK_EVERY_S: Final = 0.25
_HINT_S: Final = 0.25
_HOST_HINT_S: Final = 1.0
_MEMINFO: Final = Path("/proc/meminfo")


def available_bytes() -> int | None:
    """What the kernel could give out without swapping (proc(5)); ``None``: it does not say."""
    for line in _MEMINFO.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def free_bytes(folder: Path) -> int:
    """What the disk of this folder has left for us."""
    told = os.statvfs(folder)
    return told.f_bavail * told.f_frsize


@frozen(kw_only=True)
class Bounds:
    """What one session may have here at a time.

    Args:
        max_held_bytes: payloads and texts of its calls that run or wait.
        max_waiting_calls: calls that wait for their slot's turn.
        min_available_bytes: memory the host must have left before a command begins; 0: never mind.
        min_free_bytes: room the disk must have left, where it is looked at.
    """

    max_held_bytes: int = 64 * 1024 * 1024
    max_waiting_calls: int = 2048
    min_available_bytes: int = MIN_AVAILABLE_BYTES
    min_free_bytes: int = MIN_FREE_BYTES


@define
class Admission:
    """The door. One for all sessions of a daemon.

    Args:
        bounds: of each session.
        look: tells how much memory there is.
        look_at_disk: tells how much room there is for volumes. Where slots have none, commands meet the full
            disk themselves.
    """

    bounds: Bounds = field(factory=Bounds)
    look: Callable[[], int | None] = available_bytes
    look_at_disk: Callable[[], int | None] = lambda: None
    _scarce: str = ""
    _looked_at: float = float("-inf")

    def refusal(self, *, held_bytes: int, waiting_calls: int) -> Outcome | None:
        """What to answer instead of taking a call, given what its session would have then."""
        bounds = self.bounds
        if held_bytes > bounds.max_held_bytes:
            return _busy(
                f"its calls would hold {held_bytes} bytes here (max {bounds.max_held_bytes})", _HINT_S
            )
        if waiting_calls > bounds.max_waiting_calls:
            return _busy(f"{bounds.max_waiting_calls} of its calls wait here already", _HINT_S)
        scarce = self._what_is_scarce()
        return _busy(scarce, _HOST_HINT_S) if scarce else None

    def again(self) -> Outcome:
        """The answer to a call that must not overtake one that was sent back."""
        return _busy("an earlier call of this slot was sent back", _HINT_S)

    def _what_is_scarce(self) -> str:
        """Looked at now and then: reading it costs as much as taking a call."""
        now = trio.current_time()
        if now >= self._looked_at + _LOOK_EVERY_S:
            self._scarce, self._looked_at = self._look(), now
        return self._scarce

    def _look(self) -> str:
        available = self.look()
        if available is not None and available < self.bounds.min_available_bytes:
            return f"the host has {available} bytes of memory left"
        free = self.look_at_disk()
        if free is not None and free < self.bounds.min_free_bytes:
            return f"the disk below the slots has {free} bytes left (min {self.bounds.min_free_bytes})"
        return ""


def _busy(why: str, hint_s: float) -> Outcome:
    """The hint is cut by chance, so that those who were sent back do not all come at once."""
    hint_s *= random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
    data: dict[str, Any] = {"busy": True, "retry_after_s": round(hint_s, 3)}
    return Outcome(provenance=Provenance.UNAVAILABLE, error=f"the daemon is busy: {why}", data=data)
