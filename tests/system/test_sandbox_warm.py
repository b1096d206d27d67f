"""Slots that are started before anybody wants them, and those that are not."""

# ruff: noqa: ASYNC110 - a test may look at a pool as it likes

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from hermes_trio.wire.operations import BashArguments
from sandbox_daemon.isolation.levels import Isolation
from sandbox_daemon.slots.pool import SlotPool, SlotPoolConfig, open_slot_pool

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]


async def _until(pool: SlotPool, **counts: int) -> None:
    """The pool's statistics say so; refills go on in the background."""
    with trio.fail_after(20):
        while {name: getattr(pool.statistics(), name) for name in counts} != counts:
            await trio.sleep(0.01)


async def test_a_pool_keeps_its_mark_and_starts_what_is_wanted(
    probe_isolation: Isolation, tmp_path: Path
) -> None:
    """A lease takes a ready slot, another is started for it; whoever wants more gets it all the same."""
    config = SlotPoolConfig(slots=4, data_dir=tmp_path / "data", warm_slots=1)
    async with open_slot_pool(config, probe_isolation) as pool:
        await _until(pool, ready=1, cold=3, leased=0)
        first = await pool.acquire(owner="o", trajectory_id="1")
        await _until(pool, ready=1, cold=2, leased=1)
        leases = [first]
        async with trio.open_nursery() as nursery:

            async def take(name: str) -> None:
                leases.append(await pool.acquire(owner="o", trajectory_id=name))

            for name in "234":
                nursery.start_soon(take, name)
        await _until(pool, ready=0, cold=0, leased=4)
        for lease in leases:
            assert (await pool.bash(lease, BashArguments(command="echo > f; ls"))).payload == b"f\n"
            await pool.release(lease)
        await _until(pool, ready=1, cold=3, leased=0)
        again = [await pool.acquire(owner="o", trajectory_id=name) for name in "5678"]
        for lease in again:
            assert (await pool.bash(lease, BashArguments(command="ls"))).payload == b""
        assert pool.statistics().quarantined == 0


async def test_without_a_mark_nobody_waits_for_a_start_but_whoever_asks(
    probe_isolation: Isolation, tmp_path: Path
) -> None:
    """One slot is started to see that slots can be; after that none without need."""
    config = SlotPoolConfig(slots=2, data_dir=tmp_path / "data", warm_slots=0)
    async with open_slot_pool(config, probe_isolation) as pool:
        leases = [await pool.acquire(owner="o", trajectory_id=name) for name in "12"]
        for lease in leases:
            await pool.release(lease)
        await _until(pool, ready=0, cold=2, leased=0)
        lease = await pool.acquire(owner="o", trajectory_id="3")
        assert (await pool.bash(lease, BashArguments(command="echo ok"))).payload == b"ok\n"
