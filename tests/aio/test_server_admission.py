"""The daemon's door: what is refused, with which hint, and that looking costs little."""

from __future__ import annotations

import trio
import trio.testing

from sandbox_daemon.server.admission import Admission, Bounds, available_bytes


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


def test_the_hosts_memory_is_read() -> None:
    """In bytes."""
    found = available_bytes()
    assert found is None or found > 1024 * 1024
