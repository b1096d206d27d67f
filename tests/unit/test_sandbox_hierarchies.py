"""Where a process stands in the control groups of its host."""

from __future__ import annotations

import pytest

from sandbox_daemon.isolation.hierarchies import Bounds, Hits, counted, read_hierarchies, settings

V2 = "26 25 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = """\
30 25 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
31 25 0:27 / /sys/fs/cgroup/pids rw shared:9 - cgroup cgroup rw,pids
32 25 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 25 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
35 25 8:1 / / rw - ext4 /dev/sda1 rw
"""
HYBRID_MEMBER = "9:name=systemd:/x\n8:pids:/\n4:memory:/box/1\n1:cpu,cpuacct:/a\n0::/\n"


def test_a_v2_host_has_one_tree() -> None:
    """Our own group, and the top above it."""
    found = read_hierarchies(V2, "0::/user.slice/session-3.scope\n")
    assert found.unified == "/sys/fs/cgroup/user.slice/session-3.scope"
    assert found.unified_top == "/sys/fs/cgroup"
    assert found.legacy == {}


def test_a_hybrid_host_has_both() -> None:
    """Limits come from v1, kills from v2."""
    found = read_hierarchies(HYBRID, HYBRID_MEMBER)
    assert found.unified == "/sys/fs/cgroup/unified"
    assert found.legacy == {
        "pids": "/sys/fs/cgroup/pids",
        "memory": "/sys/fs/cgroup/memory/box/1",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/a",
    }


@pytest.mark.parametrize(
    ("root", "path", "folder"),
    [
        ("/docker/7", "/docker/7", "/cg"),
        ("/docker/7", "/docker/7/inner", "/cg/inner"),
        ("/docker/7", "/docker/77", "/cg/docker/77"),
        ("/", "/../elsewhere", "/cg"),
        ("/", "/", "/cg"),
    ],
)
def test_a_mount_may_show_a_part_of_the_tree(root: str, path: str, folder: str) -> None:
    """As in containers; what lies outside of what we see is replaced by the top of it."""
    line = f"26 25 0:23 {root} /cg rw - cgroup2 cgroup2 rw\n"
    assert read_hierarchies(line, f"0::{path}\n").unified == folder


@pytest.mark.parametrize(
    ("mounts", "membership"), [("", ""), ("garbage\n", "garbage\n"), (V2, ""), ("", HYBRID_MEMBER)]
)
def test_where_nothing_is_told_nothing_is_there(mounts: str, membership: str) -> None:
    """Nothing raises."""
    found = read_hierarchies(mounts, membership)
    assert (found.unified, dict(found.legacy)) == (None, {})


ALL = Bounds(processes=5, memory_bytes=1024, cpus=1.5)


@pytest.mark.parametrize(
    ("controller", "unified", "files"),
    [
        ("pids", True, (("pids.max", "5"),)),
        ("pids", False, (("pids.max", "5"),)),
        ("memory", True, (("memory.max", "1024"), ("memory.swap.max", "0"))),
        ("memory", False, (("memory.limit_in_bytes", "1024"), ("memory.memsw.limit_in_bytes", "1024"))),
        ("cpu", True, (("cpu.max", "150000 100000"),)),
        ("cpu", False, (("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "150000"))),
        ("io", True, ()),
    ],
)
def test_each_controller_has_its_files(
    controller: str, unified: bool, files: tuple[tuple[str, str], ...]
) -> None:
    """Memory before memory with swap: the kernel refuses the other order."""
    assert settings(controller, ALL, unified=unified) == files
    assert settings(controller, Bounds(), unified=unified) == ()


def test_counters_are_read_by_name() -> None:
    """What is not there has not happened."""
    text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\nodd x\n"
    assert counted(text, "oom_kill") == 3
    assert counted(text, "odd") == 0
    assert counted(text, "max") == 0
    assert Hits(oom=3, forks=2).since(Hits(oom=1, forks=2)) == Hits(oom=2, forks=0)
