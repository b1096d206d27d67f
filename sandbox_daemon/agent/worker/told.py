"""How a worker says on standard error how it went: ``name=value`` lines, which anybody can read safely.

The daemon does not trust them: whatever else runs in the slot has the same uid.
"""

from __future__ import annotations

import os

from sandbox_daemon.agent import paths

_STDERR = 2
_MAX_TEXT = 500
_MAX_SKIPPED = 100
"""Named; the others are only counted."""


def say(name: str, value: int | str) -> None:
    """One line."""
    os.write(_STDERR, f"{name}={value}\n".encode())


def refuse(text: str) -> None:
    """The job makes no sense, and this is why."""
    say("refused", text.encode("utf-8", "replace")[:_MAX_TEXT].hex())


def failed(error: paths.PathError) -> None:
    """Nothing of the job is to be used, and this is why."""
    say("failed", f"{error.reason},{error.code},{error.size}")


class Skipped:
    """What a job left out, and why."""

    def __init__(self) -> None:
        self._count = 0

    def note(self, path: bytes, why: str) -> None:
        """One entry."""
        self._count += 1
        if self._count <= _MAX_SKIPPED:
            say("skipped", f"{path.hex()},{why}")

    def tell(self) -> None:
        """How many there were."""
        say("skipped_count", self._count)
