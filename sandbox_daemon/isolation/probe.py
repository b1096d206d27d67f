"""Finding out what this host can isolate."""

from __future__ import annotations

from pathlib import Path

import trio

from sandbox_daemon.isolation.host import find_bwrap, find_interpreter
from sandbox_daemon.isolation.levels import Isolation, Level, Missing, Policy

__all__ = ["Isolation", "Missing", "probe"]


async def probe(policy: str, data_dir: Path) -> Isolation:
    """What this host can isolate (draft: looks, does not try).

    Cancellation: atomic.
    """
    await trio.lowlevel.checkpoint()
    if Policy(policy) is Policy.NONE:
        return Isolation(
            level=Level.NONE,
            mechanisms={},
            interpreter=find_interpreter(within_usr=False, for_stranger=False),
        )
    interpreter = find_interpreter(within_usr=True, for_stranger=True)
    return Isolation(level=Level.NS, mechanisms={}, interpreter=interpreter, bwrap=find_bwrap(), seccomp=True)
