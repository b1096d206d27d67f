"""What a probe's answers mean."""

from __future__ import annotations

from attrs import evolve

from sandbox_daemon.isolation.findings import Setting, described, no_layers, no_volumes
from sandbox_daemon.isolation.levels import Isolation, Level

ALL_HELD = {"network": True, "disk": True, "memory": True, "process count": True}
ROOT = Setting(root=True, grouped=True, held=frozenset({"pids", "memory", "cpu"}), reasons={})
BARE = Setting(root=False, grouped=False, held=frozenset(), reasons={"memory": "no such file"})
NS = Isolation(level=Level.NS, mechanisms={}, seccomp=True, volumes=True)


def test_a_host_that_has_everything_misses_nothing() -> None:
    """Each mechanism is named."""
    found = described(evolve(NS, layers=True), ALL_HELD, ROOT)
    assert found.missing == ()
    assert found.mechanisms == {
        "processes": "PID namespace",
        "files": "mount namespace, openat2",
        "identity": "a uid per slot",
        "system calls": "seccomp filter",
        "network": "network namespace",
        "workspaces": "overlayfs, layers shared",
        "process count": "control group",
        "memory": "control group",
        "cpu": "control group",
        "disk": "a file system per slot",
        "calls side by side": "yes",
    }


def test_what_is_softer_is_named_and_what_mends_it() -> None:
    """A limit that no group holds, and calls that cannot run side by side."""
    found = described(evolve(NS, volumes=False), ALL_HELD, BARE)
    assert found.mechanisms["processes"] == "PID namespace"
    assert found.mechanisms["identity"] == "the daemon's uid"
    assert found.mechanisms["process count"] == "RLIMIT_NPROC"
    assert found.mechanisms["memory"] == "RLIMIT_DATA of each process"
    assert found.mechanisms["disk"] == "RLIMIT_FSIZE"
    names = [item.name for item in found.missing]
    assert names == ["process count limit", "memory limit", "cpu limit", "a group for each call"]
    assert found.missing[1].why == "no such file; RLIMIT_DATA of each process has to do"
    assert "Delegate=yes" in found.missing[0].mend


def test_a_limit_that_did_not_hold_is_none() -> None:
    """Whatever was set up for it: found by doing."""
    found = described(NS, dict.fromkeys(ALL_HELD, False), ROOT)
    mechanisms = found.mechanisms
    assert (mechanisms["process count"], mechanisms["memory"]) == ("none", "none")
    assert mechanisms["disk"] == "RLIMIT_FSIZE"
    assert [item.name for item in found.missing] == ["process count limit", "memory limit"]


def test_lower_levels_say_what_keeps_them_apart() -> None:
    """At level uid an open network is a gap of its own."""
    uid = described(evolve(NS, level=Level.UID, seccomp=False), {**ALL_HELD, "network": False}, BARE)
    assert uid.mechanisms["processes"] == "kill(-1) as the slot's uid"
    assert uid.mechanisms["network"] == "none"
    assert uid.missing[0].name == "network"
    none = described(evolve(NS, level=Level.NONE, volumes=False), ALL_HELD, evolve(ROOT, grouped=True))
    assert none.mechanisms["processes"] == "control group of each call"
    assert none.mechanisms["identity"] == "the daemon's uid"
    assert described(evolve(NS, level=Level.UID), ALL_HELD, ROOT).mechanisms["network"].startswith("seccomp")


def test_a_host_without_volumes_is_told_why() -> None:
    """And what to do, when nobody knows better."""
    assert no_volumes("mkfs.ext4 is not installed.", "Debian: apt-get install e2fsprogs.").mend.startswith(
        "D"
    )
    assert "loop-control" in no_volumes("no loop device: x").mend
    found = described(evolve(NS, volumes=False, missing=(no_volumes("w"),)), ALL_HELD, ROOT)
    assert [item.name for item in found.missing] == ["disk limit"]


def test_a_host_whose_workspaces_are_copied_is_told_why() -> None:
    """One sentence, without the stop that the reason brought along, and what to do."""
    missing = no_layers("overlayfs is not there.")
    assert (missing.name, missing.why) == ("shared layers", "overlayfs is not there")
    assert "5.19" in missing.mend
