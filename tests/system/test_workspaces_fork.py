"""Forks and resets of real slots: on layers where this host has them, and by copying everywhere."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from attrs import evolve

from hermes_trio.errors import NoRoomError, UnavailableError
from hermes_trio.wire.frames import Lease
from hermes_trio.wire.operations import BashArguments
from sandbox_daemon.isolation.levels import Isolation
from sandbox_daemon.isolation.policy import SlotLimits
from sandbox_daemon.process.outcome import AgentStartError
from sandbox_daemon.slots import cell as cell_module
from sandbox_daemon.slots.pool import SlotPool, SlotPoolConfig, StaleLeaseError, open_slot_pool
from sandbox_daemon.workspaces.layers import FLATTENED, MAX_LAYERS

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]

LIMITS = SlotLimits(disk_bytes=64 << 20, max_files=4000)


@asynccontextmanager
async def open_forks(isolation: Isolation, folder: Path, *, slots: int) -> AsyncIterator[SlotPool]:
    """A pool of small slots."""
    config = SlotPoolConfig(slots=slots, data_dir=folder, limits=LIMITS)
    async with open_slot_pool(config, isolation) as pool:
        yield pool


@pytest.fixture(params=["layers", "copies"])
async def pool(
    request: pytest.FixtureRequest, probe_isolation: Isolation, tmp_path: Path
) -> AsyncIterator[SlotPool]:
    """Five slots, whose workspaces lie on layers or are copied."""
    isolation = probe_isolation
    if request.param == "copies":
        isolation = evolve(isolation, layers=False)
    elif not isolation.layers:
        pytest.skip("needs overlayfs")
    async with open_forks(isolation, tmp_path / "data", slots=5) as opened:
        yield opened


async def run(pool: SlotPool, lease: Lease, command: str) -> str:
    """What a command prints, both streams."""
    outcome = await pool.bash(lease, BashArguments(command=command), limit_s=30.0)
    return outcome.payload.decode("utf-8", "replace") + outcome.error


async def acquire(pool: SlotPool, name: str = "parent") -> Lease:
    """A slot of the one owner."""
    return await pool.acquire(owner="test", trajectory_id=name)


async def fork(pool: SlotPool, lease: Lease, *names: str) -> tuple[Lease, ...]:
    """Children of the one owner."""
    return await pool.fork(lease, owner="test", into=names)


SHUT, SHUT_FOLDER = ("0", "0") if os.geteuid() == 0 else ("400", "500")
"""Modes that keep everybody out but the daemon: without root, that is the files' owner and no more."""
MAKE = r"""
mkdir -p a/b empty; echo one > a/b/one; echo two > two; ln -s ../two a/link; ln two again
chmod 750 .; chmod 4711 two; printf x > $'odd \xff\n'; truncate -s 5M sparse; mkfifo pipe
mkdir locked; echo secret > locked/f; chmod 0 locked/f; chmod 500 locked
touch -d '2001-02-03 04:05:06.123456789 UTC' a/b/one; touch -h -d '2002-01-01 UTC' a/link
touch -d '2003-01-01 UTC' empty; touch -d '2004-01-01 UTC' .
""".replace("chmod 0 ", f"chmod {SHUT} ")
LOOK = r"""
find . -type d -printf '%P %y %m %T@ %U\n' | sort; cat a/b/one two again; du -k sparse
find . ! -type d -printf '%P %y %m %n %s %T@ %l %U\n' | sort | cat -v
"""
"""An overlay counts no links of folders, and says 1."""


async def test_children_have_what_the_parent_has(pool: SlotPool) -> None:
    """Types, modes, links of both kinds, times, holes, names that are no text."""
    parent = await acquire(pool)
    assert await run(pool, parent, MAKE) == ""
    before = await run(pool, parent, LOOK)
    assert "./pipe" in before or "pipe p" in before
    children = await fork(pool, parent, "one", "two")
    assert [await run(pool, lease, LOOK) for lease in (parent, *children)] == [before] * 3
    assert await run(pool, children[0], "id -u; touch mine && stat -c %U mine two") == "1000\nagent\nagent\n"


async def test_what_one_writes_no_other_sees(pool: SlotPool) -> None:
    """Neither a change, nor a removal, nor a folder in place of a file; and again a generation later."""
    parent = await acquire(pool)
    await run(pool, parent, "mkdir d; echo old > d/f; echo old > g; mkdir h; touch h/i")
    one, two = await fork(pool, parent, "one", "two")
    await run(pool, parent, "echo parent > d/f")
    await run(pool, one, "rm -r d h; mkdir h; touch h/new; rm g; mkdir g; echo one > g/deep")
    (three,) = await fork(pool, one, "three")
    await run(pool, three, "echo three > g/deep")
    look = "cat d/f g g/deep 2>/dev/null; ls h"
    assert await run(pool, parent, look) == "parent\nold\ni\n"
    assert await run(pool, two, look) == "old\nold\ni\n"
    assert await run(pool, one, look) == "one\nnew\n"
    assert await run(pool, three, look) == "three\nnew\n"


async def test_a_forked_slot_that_is_given_back_is_empty_for_the_next(pool: SlotPool) -> None:
    """And what only it held is freed; what the others hold is not."""
    parent = await acquire(pool)
    await run(pool, parent, "echo x > f")
    children = await fork(pool, parent, "one", "two", "three")
    await pool.release(parent)
    await pool.release(children[0])
    fresh = await acquire(pool, "fresh")
    assert await run(pool, fresh, "ls -A") == ""
    assert await run(pool, children[1], "cat f") == "x\n"
    for lease in children[1:]:
        await pool.release(lease)
    assert pool._site.storage.table.layers == frozenset()
    assert pool.statistics().quarantined == 0


async def test_too_few_free_slots_refuse_a_fork_and_lose_nothing(pool: SlotPool) -> None:
    """The slots that are free stay free, the parent has its workspace, and its shell of before runs on."""
    parent = await acquire(pool)
    await run(pool, parent, "echo x > f; echo y > /tmp/t")
    await acquire(pool, "other")
    with pytest.raises(NoRoomError, match="A fork needs 4 free slots, and this daemon has 3"):
        await fork(pool, parent, "a", "b", "c", "d")
    assert pool.statistics().ready == 3
    assert await run(pool, parent, "cat f /tmp/t") == "x\ny\n"
    assert len(await fork(pool, parent, "a", "b", "c")) == 3


async def test_a_child_that_does_not_come_up_costs_the_parent_nothing(
    pool: SlotPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names it; its slots are wiped and come back."""
    parent = await acquire(pool)
    await run(pool, parent, "echo x > f")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no")

    async def fail(*_: object, **__: object) -> None:
        await trio.lowlevel.checkpoint()
        raise AgentStartError("broken on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(cell_module, "remount", refuse)
        patch.setattr(cell_module, "start_agent", fail)
        with pytest.raises(UnavailableError, match="broken on purpose"):
            await fork(pool, parent, "one")
    assert await run(pool, parent, "cat f") == "x\n"
    with trio.fail_after(10):  # which takes all the slots: those of the fork that failed are back
        children = await fork(pool, parent, "one", "two", "three", "four")
    assert await run(pool, children[0], "cat f") == "x\n"


async def test_without_the_right_to_enter_a_slot_it_gets_a_fresh_agent(
    pool: SlotPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody goes on with the workspace of before."""
    parent = await acquire(pool)
    await run(pool, parent, "echo x > f")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(cell_module, "remount", refuse)
    (child,) = await fork(pool, parent, "one")
    await run(pool, parent, "echo parent > f")
    assert await run(pool, child, "cat f; echo child > f") == "x\n"
    assert await run(pool, parent, "cat f") == "parent\n"


async def test_a_slot_that_was_kept_dirty_is_wiped_before_it_is_a_child(pool: SlotPool) -> None:
    """Whoever gave it back as it was wanted it for something else."""
    kept = await acquire(pool, "one")
    await run(pool, kept, "echo stale > stale")
    await pool.release(kept, reset=False)
    parent = await acquire(pool)
    await run(pool, parent, "rm -f stale; echo x > f")
    (child,) = await fork(pool, parent, "one")
    assert await run(pool, child, "ls -A") == "f\n"


async def test_a_reset_leaves_nothing_and_keeps_the_slot(pool: SlotPool) -> None:
    """Files, temporary files, processes; also of a child, whose layers are not its own any more."""
    parent = await acquire(pool)
    await run(pool, parent, f"echo x > f; echo y > /tmp/t; chmod {SHUT_FOLDER} .")
    (child,) = await fork(pool, parent, "child")
    for lease in (parent, child):
        await pool.reset(lease)
        assert await run(pool, lease, "ls -A . /tmp; stat -c %a .") == ".:\n\n/tmp:\n700\n"
    assert pool._site.storage.table.layers == frozenset()
    await pool.release(parent)
    with pytest.raises(StaleLeaseError):
        await pool.reset(parent)
    with pytest.raises(StaleLeaseError):
        await fork(pool, parent, "late")


async def test_a_fork_that_is_cancelled_leaves_no_slot_behind(pool: SlotPool) -> None:
    """At any moment: the children come back, and the parent is as it was."""
    parent = await acquire(pool)
    await run(pool, parent, "echo x > f")
    for pause_s in (0.0, 0.002, 0.01, 0.03):
        with trio.move_on_after(pause_s):
            for lease in await fork(pool, parent, "one", "two"):
                await pool.release(lease)
    assert await run(pool, parent, "cat f") == "x\n"
    with trio.fail_after(10):
        await fork(pool, parent, "a", "b", "c", "d")


@pytest.fixture
async def layered(probe_isolation: Isolation, tmp_path: Path) -> AsyncIterator[SlotPool]:
    """Three slots on layers."""
    if not probe_isolation.layers:
        pytest.skip("needs overlayfs")
    async with open_forks(probe_isolation, tmp_path / "data", slots=3) as opened:
        yield opened


TURNS = MAX_LAYERS + FLATTENED + 3
"""Forks until stacks were flattened twice."""


async def test_stacks_are_flattened_before_they_grow_too_high(layered: SlotPool) -> None:
    """Nothing is lost by it, and nothing that was removed comes back."""
    lease = await acquire(layered)
    table = layered._site.storage.table
    await run(layered, lease, "mkdir d; touch d/gone gone; ln -s x link; head -c 1M /dev/zero > large")
    highest, lowest = 0, set()
    for turn in range(TURNS):
        await run(layered, lease, f"rm -rf gone d/gone; echo {turn} > f{turn}; echo {turn} >> all")
        (child,) = await fork(layered, lease, "child")
        highest = max(highest, len(table.stack(lease.slot)))
        lowest.add(table.stack(lease.slot)[0])
        await layered.release(lease)
        lease = child
    assert highest == MAX_LAYERS
    assert len(table.stack(lease.slot)) < MAX_LAYERS
    assert len(lowest) == 1, "what is large is not copied for the sake of what is small"
    expected = "".join(f"{turn}\n" for turn in range(TURNS))
    assert await run(layered, lease, "cat all") == expected
    names = {"all", "d", "large", "link", *(f"f{turn}" for turn in range(TURNS))}
    assert set((await run(layered, lease, "ls -A")).split()) == names
    assert await run(layered, lease, "ls -A d; readlink link") == "x\n"


async def test_a_layer_cannot_be_reached_by_those_who_lie_on_it(layered: SlotPool) -> None:
    """Neither below the overlay nor beside it; the parent's own agent sees the overlay too."""
    parent = await acquire(layered)
    await run(layered, parent, "echo secret > f; chmod 666 f")
    (child,) = await fork(layered, parent, "child")
    storage = layered._site.storage
    (layer,) = storage.layer_folders(child.slot)
    script = "ls /mnt /mnt/0 /slots 2>&1 | sort -u; echo bad > f; rm -f f; umount . 2>&1 | tail -1; ls -A"
    for lease in (parent, child):
        text = await run(layered, lease, script)
        assert "slot_" not in text
        assert (layer / "f").read_text() == "secret\n"
    assert os.stat(layer / "f").st_nlink == 1


async def test_a_parent_whose_network_changes_keeps_its_layers(layered: SlotPool) -> None:
    """A fresh agent mounts what the old one had laid over its workspace."""
    parent = await acquire(layered)
    await run(layered, parent, "echo x > f")
    (child,) = await fork(layered, parent, "child")
    for lease in (parent, child):
        await run(layered, lease, "echo mine >> f")
        arguments = BashArguments(command="cat f", allow_network=True)
        outcome = await layered.bash(lease, arguments, limit_s=30.0)
        assert outcome.payload == b"x\nmine\n"


async def test_the_quota_binds_what_a_child_writes(layered: SlotPool) -> None:
    """Each has its own, whatever lies below."""
    parent = await acquire(layered)
    await run(layered, parent, "head -c 30M /dev/zero > f")
    (child,) = await fork(layered, parent, "child")
    for lease in (parent, child):
        assert "No space left" in await run(layered, lease, "head -c 70M /dev/zero > g")
        assert await run(layered, lease, "rm g; head -c 30M /dev/zero > h && wc -c < h") == f"{30 << 20}\n"
