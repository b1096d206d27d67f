"""Calls that are announced when they have been running for a while."""

from __future__ import annotations

import trio
import trio.testing

from hermes_trio.wire.frames import CallId
from sandbox_daemon.server.beginnings import QUIET_S, Beginnings


async def test_only_what_still_runs_is_announced(autojump_clock: trio.testing.MockClock) -> None:
    """In order, each once; what was over before that is not told of."""
    running, told = set[CallId](), list[tuple[CallId, float]]()

    def announce(call_id: CallId) -> None:
        told.append((call_id, round(trio.current_time() - began, 3)))

    beginnings = Beginnings(runs=running.__contains__, announce=announce)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(beginnings.announce_late)
        for number in range(1, 7):
            beginnings.add(CallId(number))
            running.add(CallId(number))
            if number % 2:
                running.discard(CallId(number))
            await trio.sleep(QUIET_S / 4)
        await trio.sleep(1.0)
        assert [call_id for call_id, _ in told] == [2, 4, 6]
        assert [at for _, at in told] == [0.125, 0.175, 0.225]
        assert repr(beginnings) == "<Beginnings 0 not told>"
        beginnings.add(CallId(7))
        running.add(CallId(7))
        await trio.sleep(1.0)
        assert told[-1][0] == 7
        nursery.cancel_scope.cancel()


async def test_a_flood_of_short_calls_wakes_nobody(autojump_clock: trio.testing.MockClock) -> None:
    """They are passed over together, and none is kept for longer than it takes to announce one."""
    told = list[CallId]()
    beginnings = Beginnings(runs=lambda _: False, announce=told.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(beginnings.announce_late)
        for number in range(1000):
            beginnings.add(CallId(number))
            await trio.sleep(0.001)
        assert len(beginnings._begun) <= 1000 * QUIET_S + 1
        nursery.cancel_scope.cancel()
    assert told == []
