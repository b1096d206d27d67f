"""The daemon's door: what is refused, with which hint, and that looking costs little."""

from __future__ import annotations

import shutil
from pathlib import Path

import trio
import trio.testing

from sandbox_daemon.server.admission import Admission, Bounds, available_bytes, free_bytes


async def test_each_bound_sends_back_with_a_hint(autojump_clock: trio.testing.MockClock) -> None:
    """At the bound it is taken; above it there is a reason and a time."""
    memory = 1000
    admission = Admission(
        Bounds(max_held_bytes=10, max_waiting_calls=2, min_available_bytes=500), look=lambda: memory
    )
    assert admission.refusal(held_bytes=10, waiting_calls=2) is None
    for held, waiting, word in ((11, 0, "hold 11 bytes"), (0, 3, "2 of its calls wait")):
        refusal = admission.refusal(held_bytes=held, waiting_calls=waiting)
        assert refusal is not None
        assert word in refusal.error
        assert 0.1 < refusal.data["retry_after_s"] <= 0.25
    memory = 499
    assert admission.refusal(held_bytes=0, waiting_calls=0) is None  # it looked a moment ago
    await trio.sleep(0.3)
    refusal = admission.refusal(held_bytes=0, waiting_calls=0)
    assert refusal is not None
    assert "499 bytes of memory" in refusal.error
    assert 0.5 <= refusal.data["retry_after_s"] <= 1


async def test_a_disk_that_is_almost_full_takes_no_more_commands(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What a slot writes to its volume must find room on the disk below it; looked at again in time."""
    free = 500
    admission = Admission(Bounds(min_free_bytes=500), look_at_disk=lambda: free)
    assert admission.refusal(held_bytes=0, waiting_calls=0) is None
    free = 499
    await trio.sleep(0.3)
    refusal = admission.refusal(held_bytes=0, waiting_calls=0)
    assert refusal is not None
    assert "499 bytes left (min 500)" in refusal.error
    free = 500
    await trio.sleep(0.3)
    assert admission.refusal(held_bytes=0, waiting_calls=0) is None


def test_the_hosts_memory_is_read() -> None:
    """In bytes."""
    found = available_bytes()
    assert found is None or found > 1024 * 1024


def test_the_disks_room_is_read(tmp_path: Path) -> None:
    """In bytes, and as it is for somebody who is not root."""
    assert 0 < free_bytes(tmp_path) <= shutil.disk_usage(tmp_path).total
