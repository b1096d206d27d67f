"""Groups of slots and calls, the real ones of this host."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from sandbox_daemon.isolation import cgroups
from sandbox_daemon.isolation.cgroup_tree import Groups, _fresh, open_groups
from sandbox_daemon.isolation.cgroups import SlotGroup, remove_tree
from sandbox_daemon.isolation.hierarchies import Bounds, Hits

LIMITS = Bounds(processes=64, memory_bytes=64 << 20, cpus=1.0)
cgroups_needed = pytest.mark.cgroups


@pytest.fixture
def groups(tmp_path: Path) -> Iterator[Groups]:
    """Of a data directory."""
    with open_groups(tmp_path) as opened:
        yield opened


@pytest.fixture
def slot(groups: Groups) -> Iterator[SlotGroup]:
    """Of one slot."""
    made = groups.slot("slot_0", LIMITS)
    yield made
    made.close()


@contextmanager
def started_in(entrances: list[int], command: str = "sleep 1000") -> Iterator[subprocess.Popen[bytes]]:
    """A shell that goes in by itself, as an agent does."""
    steps = [f"echo 0 >&{descriptor}" for descriptor in entrances]
    shell = ["/bin/bash", "-c", "; ".join([*steps, "echo in", command])]
    with subprocess.Popen(shell, pass_fds=entrances, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"in\n"
            yield process
        finally:
            process.kill()


@cgroups_needed
async def test_a_group_dies_as_one_and_is_used_again(slot: SlotGroup) -> None:
    """Whatever became of sessions and parents; empty is told as an event."""
    group = slot.take()
    assert group is not None
    with started_in([group.procs], "setsid sleep 1000 & (setsid sleep 1000 &); sleep 1000") as process:
        assert group.populated()
        assert slot.populated()
        assert group.count() >= 1
        with slot.entrances() as entrances:
            only_here = len(entrances) > 1  # then there are other trees, and it has not gone in there
        assert slot.holds(process.pid) is not only_here
        group.kill()
        process.wait()
        with trio.fail_after(10):
            await slot.wait_empty()
    assert not group.populated()
    assert group.cpu_us() > 0
    slot.give_back(group)
    assert slot.take() is group
    slot.give_back(group)


@cgroups_needed
async def test_a_group_that_is_not_empty_is_not_used_again(slot: SlotGroup) -> None:
    """And the slot's own kill ends what is in it."""
    group = slot.take()
    assert group is not None
    with started_in([group.procs]) as process:
        slot.give_back(group)
        other = slot.take()
        assert other is not None
        assert other is not group
        slot.give_back(other)
        slot.kill()
        process.wait()
        with trio.fail_after(10):
            await slot.wait_empty()
    assert not slot.populated()


@cgroups_needed
def test_entrances_lead_into_every_tree(groups: Groups, slot: SlotGroup) -> None:
    """The agent's own group first; then whoever entered is held."""
    with slot.entrances() as entrances:
        assert len(entrances) == 1 + len(set(groups.limited.values()) - {groups.unified})
        inside = started_in(entrances)
        process = inside.__enter__()
    try:
        assert slot.holds(process.pid)
        assert not slot.holds(os.getpid())
    finally:
        inside.__exit__(None, None, None)
    assert slot.held == {"pids", "memory", "cpu"}
    assert "limits cpu, memory, pids" in repr(slot)


@cgroups_needed
def test_refused_forks_are_counted(slot: SlotGroup, groups: Groups) -> None:
    """By the kernel, since the group was made."""
    before = slot.hits()
    (groups.limited["pids"] / "slot_0" / "pids.max").write_text("1")
    procs = groups.limited["pids"] / "slot_0" / "cgroup.procs"
    script = f"echo 0 > {procs}; (exit 0)"
    subprocess.run(["/bin/dash", "-c", script], check=False, capture_output=True)
    assert slot.hits().since(before) == Hits(0, 1)


@cgroups_needed
def test_what_an_earlier_daemon_left_is_killed_and_removed(tmp_path: Path) -> None:
    """In every tree; nothing is left of this one."""
    stack = open_groups(tmp_path)
    groups = stack.__enter__()  # a daemon that was killed never leaves it
    slot = groups.slot("slot_0", LIMITS)
    group = slot.take()
    assert group is not None
    with started_in([group.procs]) as process:
        (groups.limited["pids"] / "slot_0" / "cgroup.procs").write_text(str(process.pid))
        with open_groups(tmp_path) as again:
            assert process.wait(timeout=10) == -9
            bases = {again.unified, *again.limited.values()}
            assert [path for path in bases if path is not None and (path / "slot_0").exists()] == []
    assert [path for path in bases if path is not None and path.exists()] == []
    stack.gen.close()  # type: ignore[attr-defined]


@cgroups_needed
def test_leftovers_of_a_tree_that_cannot_kill_are_killed_one_by_one(groups: Groups) -> None:
    """As those of v1 cannot."""
    groups.slot("slot_0", LIMITS).close()
    base = groups.limited["pids"]
    (base / "slot_0").mkdir()
    with started_in([]) as process:
        (base / "slot_0" / "cgroup.procs").write_text(str(process.pid))
        assert _fresh(base) == base
        assert process.wait(timeout=10) == -9
    assert list(base.glob("slot_*")) == []


async def test_a_slot_without_groups_asks_nothing_of_them() -> None:
    """Every host is asked the same way."""
    slot = SlotGroup(None, {})
    assert not slot.contains_calls
    assert slot.held == frozenset()
    assert slot.take() is None
    assert slot.hits() == Hits()
    assert not slot.populated()
    assert slot.holds(os.getpid())
    slot.kill()
    await slot.wait_empty()
    with slot.entrances() as entrances:
        assert entrances == []
    slot.close()


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/a/hermes-trio-x/slot_1", True),
        ("/hermes-trio-x/slot_1", True),
        ("/a/hermes-trio-x/slot_1/call_3", True),
        ("/a/hermes-trio-x/slot_10", False),
        ("/", False),
    ],
)
def test_a_place_is_known_by_its_last_two_names(path: str, inside: bool) -> None:
    """What lies above depends on who looks."""
    assert cgroups._names(path, Path("/sys/fs/cgroup/x/hermes-trio-x/slot_1")) is inside


def test_a_tree_that_is_not_empty_stays(tmp_path: Path) -> None:
    """As far as it is; what is gone already is gone."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").touch()
    assert not remove_tree(tmp_path / "a")
    assert not (tmp_path / "a" / "b").exists()
    assert remove_tree(tmp_path / "nothing")
