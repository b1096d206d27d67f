"""A range of uids for the slots, one each, that nobody else on this machine has.

Distinct uids are what gives each slot its own RLIMIT_NPROC budget and, at level ``uid``, its walls. Two
daemons with the same range would share both (``kill(-1)`` of one would reach the other's slots), so a range
is held by a lock in ``/run`` for as long as its daemon lives. What a daemon that was killed has left behind,
stopped by a signal perhaps, holds it too: until the next one on the same data directory has ended it.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from hermes_trio.errors import UnavailableError
from sandbox_daemon.isolation.processes import living

DEFAULT_BASE = 70_000
BLOCK = 4096
"""As many as a daemon may have slots, and one more range for its probe."""
_BLOCKS = 64
_LOCKS = Path("/run/hermes-trio")


@contextlib.contextmanager
def reserve_uids(count: int, *, base: int = DEFAULT_BASE, locks: Path = _LOCKS) -> Iterator[range]:
    """Holds ``count`` uids while the context is open.

    Raises:
        UnavailableError: every block is held, or belongs to real users, or to processes that live.
    """
    locks.mkdir(mode=0o755, parents=True, exist_ok=True)
    taken = _taken()
    for block in range(_BLOCKS):
        uids = range(base + block * BLOCK, base + block * BLOCK + count)
        if not taken.isdisjoint(uids):
            continue
        descriptor = _lock(locks / f"uids-{uids.start}")
        if descriptor is None:
            continue
        try:
            if not any(not theirs.isdisjoint(uids) for _, theirs in living()):
                yield uids
                return
        finally:
            os.close(descriptor)
    raise UnavailableError(
        f"No free range of {count} uids from {base} up.",
        mend="Choose another base with uid_base, away from the uids of real users.",
    )


def _taken() -> set[int]:
    """Uids and gids of real users and groups."""
    return {entry.pw_uid for entry in pwd.getpwall()} | {entry.gr_gid for entry in grp.getgrall()}


def _lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
