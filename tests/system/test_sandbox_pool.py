"""The pool over real agents: leases, resets, what a release does to whoever is inside."""

# ruff: noqa: ASYNC110, ASYNC240 - a test may look at files, processes and clocks as it likes

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from hermes_trio.errors import Provenance, UnavailableError
from hermes_trio.wire.frames import Lease, SlotId
from hermes_trio.wire.operations import BashArguments, ReadFileArguments, WriteFileArguments
from sandbox_daemon.isolation.cgroup_tree import _PREFIX, _identity
from sandbox_daemon.isolation.levels import Isolation
from sandbox_daemon.isolation.policy import STAGE, SlotLimits
from sandbox_daemon.slots.pool import SlotPoolConfig, StaleLeaseError, open_slot_pool

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]


async def test_a_reset_slot_is_empty_and_has_another_agent(slots) -> None:
    """Nothing of the last user: files, temporary files, processes."""
    await slots.bash("echo x > f; mkdir -p d/e; echo x > /tmp/t; chmod 000 d")
    before = slots.agent_pid()
    assert await slots.pool.release(slots.lease) == "ready"
    slots.lease = await slots.pool.acquire(owner="other", trajectory_id="t")
    assert await slots.text("ls -A . /tmp") == ".:\n\n/tmp:\n"
    assert slots.agent_pid() != before


async def test_a_stale_lease_does_nothing(slots) -> None:
    """Released, forged, of another epoch, of no slot."""
    old = slots.lease
    await slots.pool.release(old)
    slots.lease = await slots.pool.acquire(owner="other", trajectory_id="t")
    assert slots.lease.slot == old.slot
    for lease in (old, Lease(slot=old.slot, epoch=99), Lease(slot=SlotId("slot_9"), epoch=1)):
        with pytest.raises(StaleLeaseError):
            await slots.pool.bash(lease, BashArguments(command="touch ran"))
        with pytest.raises(StaleLeaseError):
            await slots.pool.read_file(lease, ReadFileArguments(path="f"))
        with pytest.raises(StaleLeaseError):
            await slots.pool.write_file(lease, WriteFileArguments(path="ran"), content=b"")
        with pytest.raises(StaleLeaseError):
            await slots.pool.quiesce(lease)
    assert await slots.text("ls -A") == ""


async def test_release_is_idempotent(slots) -> None:
    """Also when both come at once, and when the slot has a new holder."""
    old = slots.lease
    states: list[str] = []

    async def release() -> None:
        states.append(await slots.pool.release(old))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(release)
        nursery.start_soon(release)
    assert states == ["ready", "ready"]
    slots.lease = await slots.pool.acquire(owner="other", trajectory_id="t")
    await slots.write("f", b"x")
    assert await slots.pool.release(old) == "ready"
    assert (await slots.read("f")).payload == b"x"


async def test_release_ends_what_runs(slots) -> None:
    """The call is answered as cancelled; those queued behind it find the lease stale."""
    outcomes: list[Provenance] = []

    async def run() -> None:
        try:
            outcomes.append((await slots.bash("setsid sleep 1000 & sleep 1000")).provenance)
        except StaleLeaseError:
            outcomes.append(Provenance.INVALID_REQUEST)

    old = slots.lease
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked(0.05)
        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked(0.05)
        began = time.perf_counter()
        assert await slots.pool.release(old) == "ready"
        assert time.perf_counter() - began < 1.0
    assert sorted(outcomes) == [Provenance.CANCELLED, Provenance.INVALID_REQUEST]
    slots.lease = await slots.pool.acquire(owner="other", trajectory_id="t")


async def test_waiting_requests_are_served_in_order(slots) -> None:
    """First come, first served; one who gives up leaves nothing behind."""
    served: list[int] = []

    async def want(number: int) -> None:
        lease = await slots.pool.acquire(owner="w", trajectory_id=str(number))
        served.append(number)
        await slots.pool.release(lease)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(want, number)
            await trio.testing.wait_all_tasks_blocked(0.01)
        with trio.move_on_after(0.05):
            await slots.pool.acquire(owner="w", trajectory_id="gives up")
        assert slots.pool.statistics().waiting == 3
        await slots.pool.release(slots.lease)
    assert served == [0, 1, 2]
    slots.lease = await slots.pool.acquire(owner="test", trajectory_id="t")


async def test_a_kept_slot_comes_back_as_it_was(slots) -> None:
    """To the same owner and trajectory; anybody else gets it reset."""
    await slots.write("f", b"kept")
    assert await slots.pool.release(slots.lease, reset=False) == "dirty"
    slots.lease = await slots.pool.acquire(owner="test", trajectory_id="attacked")
    assert (await slots.read("f")).payload == b"kept"
    assert await slots.pool.release(slots.lease, reset=False) == "dirty"
    slots.lease = await slots.pool.acquire(owner="somebody", trajectory_id="else")
    assert (await slots.read("f")).error == "File not found: f"


async def test_releasing_an_owner_frees_all_its_slots(slots) -> None:
    """Running, idle and kept ones."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slots.bash, "sleep 1000")
        await trio.testing.wait_all_tasks_blocked(0.05)
        await slots.pool.release(slots.neighbour, reset=False)
        await slots.pool.release_owner("test")
    statistics = slots.pool.statistics()
    assert (statistics.ready, statistics.leased, statistics.dirty) == (2, 0, 0)
    slots.lease = await slots.pool.acquire(owner="test", trajectory_id="a")
    slots.neighbour = await slots.pool.acquire(owner="test", trajectory_id="b")


async def test_a_slot_that_cannot_be_shown_dead_is_quarantined(
    slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And never handed out again; with all of them gone, waiting is refused."""

    async def never_dead(_agent: object) -> bool:
        await trio.lowlevel.checkpoint()
        return False

    with monkeypatch.context() as patch:
        patch.setattr("sandbox_daemon.slots.cell.kill_slot", never_dead)
        for lease in (slots.lease, slots.neighbour):
            assert await slots.pool.release(lease) == "quarantined"
        with pytest.raises(StaleLeaseError):
            await slots.pool.bash(slots.lease, BashArguments(command="true"))
        with pytest.raises(UnavailableError):
            await slots.pool.acquire(owner="w", trajectory_id="t")
    for cell in slots.pool._cells.values():  # so that the fixture can end what this test has not
        cell.lost = False
        await cell.kill()
        await cell.renew(network=False)
    for name in slots.pool._cells:
        slots.pool._table._slots[name].state = "dirty"
        slots.pool._hand_over(slots.pool._table.ready(name))
    slots.lease = await slots.pool.acquire(owner="test", trajectory_id="a")
    slots.neighbour = await slots.pool.acquire(owner="test", trajectory_id="b")


async def test_a_malformed_or_flooding_agent_loses_its_slots_calls_only(slots) -> None:
    """What the agent says is input like any other."""
    cell = slots.pool._cells[slots.lease.slot]
    cell.link._route(b"\xff garbage", [])
    assert "malformed" in cell.link.lost
    assert await slots.text("echo ok") == "ok\n"
    from sandbox_daemon.agent import protocol

    for number in range(1001):
        cell.link._route(protocol.pack(protocol.WRITTEN, 100_000 + number, (1,)), [])
    assert "without being asked" in cell.link.lost
    assert await slots.text("echo ok") == "ok\n"


async def test_leaving_the_pool_kills_and_removes_everything(
    probe_isolation: Isolation, tmp_path: Path
) -> None:
    """Also while commands run, and when it is left by a cancel."""
    data = tmp_path / "data"
    agents: list[int] = []
    with trio.CancelScope() as whole:
        async with (
            open_slot_pool(SlotPoolConfig(slots=3, data_dir=data), probe_isolation) as pool,
            trio.open_nursery() as nursery,
        ):
            for number in range(3):
                lease = await pool.acquire(owner="o", trajectory_id=str(number))
                await pool.write_file(lease, WriteFileArguments(path="f"), content=b"x")
                nursery.start_soon(pool.bash, lease, BashArguments(command="setsid sleep 1000 & sleep 1000"))
            agents += [cell.agent.pid for cell in pool._cells.values()]
            while not all(Path(f"/proc/{pid}/task/{pid}/children").read_text() for pid in agents):
                await trio.sleep(0.01)
            whole.cancel()
    assert len(agents) == 3
    assert [pid for pid in agents if Path(f"/proc/{pid}").exists()] == []
    assert list((data / "slots").iterdir()) == []
    assert list((data / "trash").iterdir()) == []


async def test_a_held_data_directory_is_refused(probe_isolation: Isolation, tmp_path: Path) -> None:
    """One live daemon at a time."""
    config = SlotPoolConfig(slots=1, data_dir=tmp_path)
    async with open_slot_pool(config, probe_isolation) as pool:
        assert pool.epoch == 1
        with pytest.raises(UnavailableError, match="another live daemon"):
            async with open_slot_pool(config, probe_isolation):
                raise AssertionError
    async with open_slot_pool(config, probe_isolation) as pool:
        assert pool.epoch == 2


async def test_no_slot_at_all_is_an_error_that_says_why(probe_isolation: Isolation, tmp_path: Path) -> None:
    """Decided from the agent's hello."""
    from attrs import evolve

    broken = evolve(probe_isolation, interpreter="/usr/bin/python3.11", bwrap="/bin/false")
    with pytest.raises(UnavailableError, match="it ended before its hello"):
        async with open_slot_pool(SlotPoolConfig(slots=2, data_dir=tmp_path), broken):
            raise AssertionError


async def test_64_slots_come_up_quickly(probe_isolation: Isolation, tmp_path: Path) -> None:
    """Concurrently, but no more than a few at a time."""
    began = time.perf_counter()
    async with open_slot_pool(SlotPoolConfig(slots=64, data_dir=tmp_path), probe_isolation) as pool:
        assert pool.statistics().ready == 64
        assert time.perf_counter() - began < 15  # 0.6 s alone on two cores; the machine may be shared
        assert repr(pool) == "<SlotPool ns <SlotTable ready=64 waiting=0>>"


_CRASH = """
import os, sys, trio
from pathlib import Path
from hermes_trio.wire.operations import BashArguments
from sandbox_daemon.isolation.probe import probe
from sandbox_daemon.slots.pool import SlotPoolConfig, open_slot_pool

async def main():
    data = Path(sys.argv[1])
    isolation = await probe(sys.argv[2], data)
    config = SlotPoolConfig(slots=16, data_dir=data)
    async with open_slot_pool(config, isolation) as pool, trio.open_nursery() as nursery:
        for number in range(16):
            lease = await pool.acquire(owner="o", trajectory_id=str(number))
            text = "setsid bash -c 'trap : TERM; while :; do sleep 1; done' & sleep 1000 & sleep 1000"
            nursery.start_soon(pool.bash, lease, BashArguments(command=text))
        await trio.sleep(0.5)
        print(*[cell.template.uid for cell in pool._cells.values()], flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.root
@pytest.mark.parametrize("policy", ["required"])
async def test_a_killed_daemon_leaves_nobody_and_the_next_cleans_up(
    probe_isolation: Isolation, tmp_path: Path, policy: str
) -> None:
    """The socket's end is the agents' end, and the kernel takes the rest."""
    import subprocess
    import sys

    script = tmp_path / "crash.py"
    script.write_text(_CRASH)
    data = tmp_path / "data"
    root = Path(__file__).parents[2]
    with subprocess.Popen(  # noqa: ASYNC220 - it is to be killed
        [sys.executable, str(script), str(data), policy],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as daemon:
        assert daemon.stdout is not None
        uids = {int(word) for word in (await trio.to_thread.run_sync(daemon.stdout.readline)).split()}
        assert len(uids) == 16
        assert len(_of(uids)) >= 16 * 4
        stopped = max(uids)
        for pid in _of({stopped}):
            os.kill(pid, signal.SIGSTOP)  # these cannot hear that the daemon is gone
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
    with trio.fail_after(3):  # 15 ms alone; the machine may be shared
        while _of(uids - {stopped}):
            await trio.sleep(0.005)
    assert len(list((data / "slots").iterdir())) == (0 if probe_isolation.volumes else 16)
    assert _of({stopped})
    async with open_slot_pool(SlotPoolConfig(slots=1, data_dir=data), probe_isolation) as pool:
        with trio.fail_after(3):
            while _of({stopped}):
                await trio.sleep(0.005)
        assert {path.name for path in (data / "slots").iterdir()} <= {"slot_0"}
        assert list(pool._site.storage.workspace("slot_0").iterdir()) == []
    assert list((data / "trash").iterdir()) == []
    assert _devices_of(data) == []
    assert list(Path("/sys/fs/cgroup").glob(f"**/{_PREFIX + _identity(data)}")) == []


def _devices_of(data: Path) -> list[str]:
    """Loop devices with a file of this data directory."""
    files = [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    return [text for text in files if text.startswith(str(data))]


def _of(uids: set[int]) -> list[int]:
    """Processes of theirs that live. The dead may wait for this machine's init to look at them."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid in uids:
                state = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
                if state != "Z":
                    found.append(int(entry.name))
        except OSError:
            continue
    return found


async def test_a_stopped_launcher_does_not_hold_up_a_reset(slots) -> None:
    """It waits around the agent, with the slot's uid, and whoever has that may stop it."""
    cell = slots.pool._cells[slots.lease.slot]
    os.kill(cell.agent.launcher.pid, signal.SIGSTOP)
    assert await slots.pool.release(slots.lease) == "ready"
    slots.lease = await slots.pool.acquire(owner="test", trajectory_id="next")


async def test_groups_of_calls_are_not_kept_for_ever(slots) -> None:
    """A crowd of calls must not leave four descriptors each."""
    if not slots.pool.setting.grouped:
        pytest.skip("needs control groups")
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(lambda: slots.bash("sleep 0.5", parallel=True))
    assert len(slots.pool._cells[slots.lease.slot].group._spare) <= 32


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: without it nothing is staged")
async def test_a_data_directory_may_lie_where_launches_are_staged(probe_isolation: Isolation) -> None:
    """Below /mnt, where many machines have their large disks."""
    with tempfile.TemporaryDirectory(dir=STAGE) as folder:
        config = SlotPoolConfig(slots=1, data_dir=Path(folder) / "data")
        async with open_slot_pool(config, probe_isolation) as pool:
            lease = await pool.acquire(owner="test", trajectory_id="t")
            outcome = await pool.bash(lease, BashArguments(command="echo x > f; cat f"))
            assert outcome.payload == b"x\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """48 MiB, and that is all."""
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts a small disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=755", "none", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


async def test_a_slot_that_has_filled_the_disk_of_the_host_gives_it_back(
    probe_isolation: Isolation, small_disk: Path
) -> None:
    """Else nobody would get a slot any more: a fresh volume has no room as long as the old one is held."""
    if not probe_isolation.volumes:
        pytest.skip("needs volumes")
    limits = SlotLimits(disk_bytes=256 << 20)
    config = SlotPoolConfig(slots=1, data_dir=small_disk / "data", limits=limits)
    async with open_slot_pool(config, probe_isolation) as pool:
        lease = await pool.acquire(owner="test", trajectory_id="greedy")
        await pool.bash(lease, BashArguments(command="head -c 100M /dev/urandom > f; sync"))
        assert os.statvfs(small_disk).f_bavail == 0
        assert await pool.release(lease) == "ready"
        assert os.statvfs(small_disk).f_bavail > 40 << 8
