"""PURE: where this process stands in the host's control groups, from what ``/proc`` says.

A host has one v2 tree, or v1 trees with a controller each, or both ("hybrid": limits come from v1 then, and
the v2 tree, which may have no controllers at all, still kills and still tells when a group is empty).

Source: cgroups(7), Documentation/admin-guide/cgroup-v2.rst, proc_pid_mountinfo(5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import field, frozen

LIMITING: Final = ("pids", "memory", "cpu")
"""Controllers that a slot's limits need."""


@frozen(kw_only=True)
class Hierarchies:
    """The folders of our own groups.

    Args:
        unified: in the v2 tree; ``None`` when it is not mounted.
        unified_top: the highest group of the v2 tree that we see.
        legacy: by v1 controller.
    """

    unified: str | None = None
    unified_top: str | None = None
    legacy: Mapping[str, str] = field(factory=dict)


def read_hierarchies(mountinfo: str, membership: str) -> Hierarchies:
    """From the texts of ``/proc/self/mountinfo`` and ``/proc/self/cgroup``."""
    own = dict(memberships(membership))
    unified = top = None
    legacy: dict[str, str] = {}
    for kind, root, point, options in _mounts(mountinfo):
        if kind == "cgroup2" and "" in own:
            unified, top = _below(point, root, own[""]), point
        elif kind == "cgroup":
            for controller in LIMITING:
                if controller in options and controller in own:
                    legacy[controller] = _below(point, root, own[controller])
    return Hierarchies(unified=unified, unified_top=top, legacy=legacy)


def memberships(text: str) -> Iterable[tuple[str, str]]:
    """Controller (empty for v2) and path of each line ``id:controllers:path``."""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            yield controller, path


def _mounts(text: str) -> Iterable[tuple[str, str, str, frozenset[str]]]:
    """Type, root, mount point and options of the superblock of each control group mount."""
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, more = before.split(), after.split()
        if separator and len(fields) >= 5 and len(more) >= 3 and more[0] in ("cgroup", "cgroup2"):
            yield more[0], fields[3], fields[4], frozenset(more[2].split(","))


def _below(point: str, root: str, path: str) -> str:
    """The folder of group ``path`` in a mount that shows the tree from ``root`` on."""
    inside = path
    if root != "/" and (path == root or path.startswith(root + "/")):
        inside = path[len(root) :]
    # A path that leads up is outside of our namespace: then the highest group we see has to do.
    return point if inside in ("", "/") or ".." in inside.split("/") else point + inside


@frozen(kw_only=True)
class Bounds:
    """What one slot may use; 0 leaves it to the host.

    Args:
        processes: processes and threads at once.
        memory_bytes: memory, page cache and tmpfs included; no swap beside it.
        cpus: processor time, in cores.
    """

    processes: int = 0
    memory_bytes: int = 0
    cpus: float = 0.0


_PERIOD_US: Final = 100_000


def settings(controller: str, bounds: Bounds, *, unified: bool) -> tuple[tuple[str, str], ...]:
    """Files and contents that bind one controller of a group, in the order in which they are written."""
    match controller:
        case "pids" if bounds.processes:
            return (("pids.max", str(bounds.processes)),)
        case "memory" if bounds.memory_bytes:
            return _memory(bounds.memory_bytes, unified=unified)
        case "cpu" if bounds.cpus:
            quota = int(bounds.cpus * _PERIOD_US)
            if unified:
                return (("cpu.max", f"{quota} {_PERIOD_US}"),)
            return (("cpu.cfs_period_us", str(_PERIOD_US)), ("cpu.cfs_quota_us", str(quota)))
    return ()


def _memory(size: int, *, unified: bool) -> tuple[tuple[str, str], ...]:
    if unified:
        return (("memory.max", str(size)), ("memory.swap.max", "0"))
    return (("memory.limit_in_bytes", str(size)), ("memory.memsw.limit_in_bytes", str(size)))


OPTIONAL: Final = frozenset({"memory.swap.max", "memory.memsw.limit_in_bytes"})
"""Files that a kernel without swap accounting lacks; without swap there is nothing to bound."""


def counted(text: str, name: str) -> int:
    """The number after ``name`` in a file of lines ``name number``; 0 when it is not there."""
    for line in text.splitlines():
        word, _, value = line.partition(" ")
        if word == name and value.isdigit():
            return int(value)
    return 0


@frozen
class Hits:
    """How often the slot ran into limits, counted by the kernel: OOM kills, and forks refused."""

    oom: int = 0
    forks: int = 0

    def since(self, before: Hits) -> Hits:
        """What came after ``before``."""
        return Hits(self.oom - before.oom, self.forks - before.forks)
