"""Where groups are made, on hosts of every kind: trees of plain files that refuse what the kernel refuses.

No machine of ours has its controllers in the v2 tree: those hosts are known from the kernel's documentation
only. What hybrid hosts do is tried for real in ``test_sandbox_cgroups.py``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from attrs import define, field

from sandbox_daemon.isolation import cgroup_tree
from sandbox_daemon.isolation.cgroup_tree import Groups
from sandbox_daemon.isolation.hierarchies import Bounds, Hierarchies

LIMITS = Bounds(processes=65, memory_bytes=1 << 30, cpus=1.5)
ALL = ("pids", "memory", "cpu")


@define
class FakeKernel:
    """Makes a folder a v2 tree: children get interface files, controllers come from above."""

    root: Path
    kill: bool = True
    busy: set[Path] = field(factory=set)
    """Groups with processes in them: they give no controllers to their children."""
    forbidden: set[Path] = field(factory=set)
    """Groups in which we may make none."""

    def install(self, patch: pytest.MonkeyPatch, controllers: Iterable[str]) -> None:
        """From now on, below ``root``."""
        mkdir, rmdir, write = Path.mkdir, Path.rmdir, Path.write_text
        self._furnish(self.root, controllers)

        def make(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
            if path.parent in self.forbidden:
                raise PermissionError(errno.EACCES, "Permission denied")
            mkdir(path, mode, parents, exist_ok)
            if path.is_relative_to(self.root):
                self._furnish(path, (path.parent / "cgroup.subtree_control").read_text().split())

        def remove(path: Path) -> None:
            if path.is_relative_to(self.root) and not any(entry.is_dir() for entry in path.iterdir()):
                for entry in path.iterdir():
                    entry.unlink()
            rmdir(path)

        def write_text(path: Path, text: str, *more: object) -> int:
            if path.name != "cgroup.subtree_control" or not path.is_relative_to(self.root):
                return write(path, text, *more)
            if path.parent in self.busy:
                raise OSError(errno.EBUSY, "Device or resource busy")
            if text[1:] not in (path.parent / "cgroup.controllers").read_text().split():
                raise OSError(errno.ENOENT, "No such file or directory")
            return write(path, f"{path.read_text()} {text[1:]}".strip())

        patch.setattr(Path, "mkdir", make)
        patch.setattr(Path, "rmdir", remove)
        patch.setattr(Path, "write_text", write_text)

    def _furnish(self, path: Path, controllers: Iterable[str]) -> None:
        names = ["cgroup.procs", "cgroup.events", "cgroup.subtree_control"]
        for name in names + (["cgroup.kill"] if self.kill else []):
            (path / name).touch()
        (path / "cgroup.controllers").write_text(" ".join(controllers))


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    """A v2 tree, not yet mounted."""
    (tmp_path / "v2").mkdir()
    return FakeKernel(tmp_path / "v2")


def mounted(kernel: FakeKernel, patch: pytest.MonkeyPatch, *controllers: str) -> Hierarchies:
    """The tree with these controllers, and a daemon in group ``own``."""
    kernel.install(patch, controllers)
    for controller in controllers:
        (kernel.root / "cgroup.subtree_control").write_text(f"+{controller}")
    (kernel.root / "own").mkdir()
    return Hierarchies(unified=str(kernel.root / "own"), unified_top=str(kernel.root))


def slot_files(groups: Groups) -> dict[str, str]:
    """What one slot's groups were told."""
    groups.slot("slot_0", LIMITS).close()
    groups.slot("slot_0", LIMITS)
    bases = {base for base in (groups.unified, *groups.limited.values()) if base is not None}
    found = {path.name: path.read_text() for base in bases for path in (base / "slot_0").glob("*.*")}
    return {name: text for name, text in found.items() if text and not name.startswith("cgroup.")}


def test_controllers_are_taken_from_our_own_group(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outer limits go on holding; a slot has all of its own in one folder."""
    groups = cgroup_tree._make(mounted(kernel, monkeypatch, *ALL), "hermes-trio-x")
    assert groups.unified == kernel.root / "own" / "hermes-trio-x"
    assert dict(groups.limited) == dict.fromkeys(ALL, groups.unified)
    assert groups.reasons == {}
    assert slot_files(groups) == {
        "pids.max": "65",
        "memory.max": str(1 << 30),
        "memory.swap.max": "0",
        "cpu.max": "150000 100000",
    }


def test_a_group_with_processes_in_it_gives_none_and_the_top_does(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule of no internal processes: a daemon started in a plain session cannot use its own."""
    places = mounted(kernel, monkeypatch, *ALL)
    kernel.busy.add(kernel.root / "own")
    groups = cgroup_tree._make(places, "hermes-trio-x")
    assert groups.unified == kernel.root / "hermes-trio-x"
    assert sorted(groups.limited) == sorted(ALL)
    assert not (kernel.root / "own" / "hermes-trio-x").exists()


def test_where_the_top_is_closed_calls_have_groups_and_slots_no_limits(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon without root in a group that was delegated, with itself in it: told for each controller."""
    places = mounted(kernel, monkeypatch, *ALL)
    kernel.busy |= {kernel.root / "own", kernel.root}
    kernel.forbidden.add(kernel.root)
    groups = cgroup_tree._make(places, "hermes-trio-x")
    assert groups.unified == kernel.root / "own" / "hermes-trio-x"
    assert groups.limited == {}
    assert {name: "busy" in groups.reasons[name] for name in ALL} == dict.fromkeys(ALL, True)
    assert slot_files(groups) == {}


def test_the_top_is_not_taken_for_less(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it gives no more controllers than our own group does."""
    places = mounted(kernel, monkeypatch, *ALL)
    kernel.busy |= {kernel.root / "own", kernel.root}
    groups = cgroup_tree._make(places, "hermes-trio-x")
    assert groups.unified == kernel.root / "own" / "hermes-trio-x"
    assert not (kernel.root / "hermes-trio-x").exists()


def test_a_tree_without_controllers_still_kills(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hybrid host: limits from v1, of which one may be closed to us."""
    places = mounted(kernel, monkeypatch)
    legacy = {}
    for name in ("pids", "memory"):
        legacy[name] = str(kernel.root.parent / name)
        Path(legacy[name]).mkdir()
    kernel.forbidden.add(Path(legacy["memory"]))
    places = Hierarchies(unified=places.unified, unified_top=places.unified_top, legacy=legacy)
    groups = cgroup_tree._make(places, "hermes-trio-x")
    assert groups.unified == kernel.root / "own" / "hermes-trio-x"
    assert dict(groups.limited) == {"pids": Path(legacy["pids"]) / "hermes-trio-x"}
    assert groups.reasons == {
        "memory": f"{legacy['memory']}: Permission denied",
        "cpu": "no control group of this host has it",
    }
    assert slot_files(groups) == {"pids.max": "65"}


def test_a_kernel_that_cannot_kill_a_group_is_not_used_for_it(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Linux 5.14: told as what it is."""
    kernel.kill = False
    groups = cgroup_tree._make(mounted(kernel, monkeypatch, *ALL), "hermes-trio-x")
    assert (groups.unified, groups.limited) == (None, {})
    assert groups.reasons["kill"] == "this kernel has no cgroup.kill"
    assert not groups.slot("slot_0", LIMITS).contains_calls


def test_a_tree_that_is_closed_everywhere_is_told(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the path at which it ended."""
    places = mounted(kernel, monkeypatch, *ALL)
    kernel.forbidden |= {kernel.root, kernel.root / "own"}
    groups = cgroup_tree._make(places, "hermes-trio-x")
    assert groups.unified is None
    assert groups.reasons["kill"] == f"{kernel.root}: Permission denied"


def test_a_host_without_control_groups_is_a_host_like_any_other() -> None:
    """Nothing is made, and each controller has its reason."""
    groups = cgroup_tree._make(Hierarchies(), "hermes-trio-x")
    assert (groups.unified, groups.limited) == (None, {})
    assert set(groups.reasons) == set(ALL)


def test_files_that_a_kernel_may_lack_are_passed_over_and_others_are_not(tmp_path: Path) -> None:
    """Swap accounting is a build option."""
    (tmp_path / "slot").mkdir()
    (tmp_path / "slot" / "memory.swap.max").mkdir()  # writing to it fails as to a file that is not there
    cgroup_tree._bind(tmp_path / "slot", (("memory.swap.max", "0"),))
    (tmp_path / "slot" / "memory.max").mkdir()
    with pytest.raises(OSError, match="directory"):
        cgroup_tree._bind(tmp_path / "slot", (("memory.max", "0"),))


def test_a_data_directory_has_a_name_of_its_own(tmp_path: Path) -> None:
    """The same for the next daemon on it, another for a directory in its place."""
    data = tmp_path / "data"
    data.mkdir()
    before = cgroup_tree._identity(data)
    assert cgroup_tree._identity(data) == before
    data.rename(tmp_path / "moved")
    data.mkdir()
    assert cgroup_tree._identity(data) != before


def test_what_cannot_be_read_is_empty() -> None:
    """A container may hide these files."""
    assert cgroup_tree._read("/proc/self/no-such-file") == ""


def test_the_dead_need_no_killing() -> None:
    """A leftover may end by itself meanwhile."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    cgroup_tree._end(child, 0.0)
