"""Slots that are started before anybody wants them, and those that are not."""

# ruff: noqa: ASYNC110 - a test may look at a pool as it likes

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from hermes_trio.wire.frames import Lease
from hermes_trio.wire.operations import BashArguments
from sandbox_daemon.isolation.levels import Isolation
from sandbox_daemon.slots import pool as pool_module
from sandbox_daemon.slots.cell import Cell
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


async def test_a_crowd_of_slots_is_emptied_before_any_of_them_is_started_again(
    probe_isolation: Isolation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an executor leaves that dies: all dead and wiped first, then started, and none is dirty."""
    monkeypatch.setattr(pool_module, "_CROWD", 2)
    monkeypatch.setattr(pool_module, "_REFILL_JITTER_S", 0.0)
    dirty_at_start: list[int] = []
    renew = Cell.renew

    async def watched(cell: Cell, *, network: bool) -> None:
        dirty_at_start.append(pool.statistics().dirty)
        await renew(cell, network=network)

    async with open_slot_pool(SlotPoolConfig(slots=6, data_dir=tmp_path / "data"), probe_isolation) as pool:
        monkeypatch.setattr(Cell, "renew", watched)
        for number in range(6):
            lease = await pool.acquire(owner="dies", trajectory_id=str(number))
            await pool.bash(lease, BashArguments(command="echo > left; setsid sleep 1000 &"))
        await pool.release_owner("dies")
        assert pool.statistics().dirty == 0
        await _until(pool, ready=6, cold=0)
        assert len(dirty_at_start) == 6
        assert max(dirty_at_start) <= 2
        leases = [await pool.acquire(owner="next", trajectory_id=str(number)) for number in range(6)]
        for lease in leases:
            assert (await pool.bash(lease, BashArguments(command="ls; pgrep sleep"))).payload == b""


async def test_who_waits_behind_a_crowd_is_served_at_once(
    probe_isolation: Isolation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slots are started for those who wait, as ever."""
    monkeypatch.setattr(pool_module, "_CROWD", 2)
    async with open_slot_pool(SlotPoolConfig(slots=4, data_dir=tmp_path / "data"), probe_isolation) as pool:
        for number in range(4):
            await pool.acquire(owner="dies", trajectory_id=str(number))
        served: list[Lease] = []

        async def wait(name: str) -> None:
            served.append(await pool.acquire(owner="waits", trajectory_id=name))

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait, "before")
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(pool.release_owner, "dies")
                for number in range(3):
                    nursery.start_soon(wait, f"meanwhile-{number}")
        assert len({lease.slot for lease in served}) == 4
