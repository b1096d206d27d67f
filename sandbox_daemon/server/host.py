"""What all sessions of a daemon share, and what one of them may cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import trio
from attrs import field, frozen

from hermes_trio.link.pump import PumpConfig
from hermes_trio.wire.frames import Epoch, Limits
from sandbox_daemon.server.admission import Admission
from sandbox_daemon.slots.pool import SlotPool

LEASE_GRACE_S: Final = 10.0
MAX_SESSIONS: Final = 1024
MAX_UNSENT_BYTES: Final = 16 * 1024 * 1024
"""Results of one session that wait for its link; above it no further call of the session begins."""


@frozen(kw_only=True)
class Host:
    """One daemon, as its sessions see it.

    Args:
        pool: the slots.
        slots: how many there are.
        epoch: this life of the daemon.
        isolation: what the probe found, as the welcome tells it.
        limits: what this side is ready to take from a peer.
        pump: how links are driven.
        lease_grace_s: how long a session outlives its last link, in seconds.
        max_sessions: sessions at once, linked or not.
        admission: whether one more call is taken.
        max_unsent_bytes: see :data:`MAX_UNSENT_BYTES`.
    """

    pool: SlotPool
    slots: int
    epoch: Epoch
    isolation: Mapping[str, Any]
    limits: Limits = field(factory=Limits)
    pump: PumpConfig = field(factory=PumpConfig)
    lease_grace_s: float = LEASE_GRACE_S
    max_sessions: int = MAX_SESSIONS
    admission: Admission = field(factory=Admission)
    max_unsent_bytes: int = MAX_UNSENT_BYTES
    draining: trio.Event = field(factory=trio.Event, repr=False)
    """Set: no new leases; the daemon is about to stop."""
