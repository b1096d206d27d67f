"""Where the slots' control groups are made: below our own group, in whatever trees this host has."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from attrs import field, frozen

from hermes_trio.telemetry.log import get_logger
from sandbox_daemon.isolation.cgroups import SlotGroup, remove_tree
from sandbox_daemon.isolation.hierarchies import (
    LIMITING,
    OPTIONAL,
    Bounds,
    Hierarchies,
    read_hierarchies,
    settings,
)
from sandbox_daemon.isolation.precedence import Precedence

logger = get_logger(__name__)

_PREFIX: Final = "hermes-trio-"
_CLEAN_LIMIT_S: Final = 2.0


@frozen(kw_only=True)
class Groups:
    """A daemon's groups: where the slots' are made.

    Args:
        unified: folder in the v2 tree, or ``None``.
        limited: folder by controller that binds here.
        reasons: why a controller does not.
    """

    unified: Path | None
    limited: Mapping[str, Path]
    reasons: Mapping[str, str] = field(factory=dict)
    precedence: Precedence = field(init=False, repr=False)

    @precedence.default
    def _precedence(self) -> Precedence:
        return Precedence(self.limited.get("cpu"))

    def slot(self, name: str, bounds: Bounds) -> SlotGroup:
        """One slot's groups, with its limits set. ``OSError`` when the host refuses."""
        if self.unified is not None:
            for path in (self.unified / name, self.unified / name / "agent"):
                path.mkdir(exist_ok=True)
        limited = {}
        for controller, base in self.limited.items():
            files = settings(controller, bounds, unified=base == self.unified)
            if files:
                limited[controller] = base / name
                _bind(base / name, files)
        unified = None if self.unified is None else self.unified / name
        return SlotGroup(unified, limited, self.precedence)


def _bind(folder: Path, files: tuple[tuple[str, str], ...]) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in files:
        try:
            (folder / name).write_text(content)
        except OSError:
            if name not in OPTIONAL:
                raise


@contextlib.contextmanager
def open_groups(data_dir: Path) -> Iterator[Groups]:
    """Control groups for the slots of one data directory, as far as this host grants them.

    What an earlier daemon on the same directory left is killed and removed first. Blocking, at most 2 s.
    """
    places = read_hierarchies(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))
    name = _PREFIX + _identity(data_dir)
    groups = _make(places, name)
    try:
        yield groups
    finally:
        for base in _bases(groups):
            remove_tree(base)


def _identity(data_dir: Path) -> str:
    status = data_dir.stat()
    text = f"{status.st_dev}:{status.st_ino}:{data_dir.absolute()}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


def _bases(groups: Groups) -> list[Path]:
    found = [groups.unified] if groups.unified is not None else []
    return list(dict.fromkeys([*found, *groups.limited.values()]))


def _make(places: Hierarchies, name: str) -> Groups:
    reasons: dict[str, str] = {}
    unified, in_unified = _make_unified(places, name, reasons)
    limited = {controller: base for controller in in_unified if (base := unified) is not None}
    for controller in LIMITING:
        own = places.legacy.get(controller)
        if controller in limited or own is None:
            continue
        try:
            limited[controller] = _fresh(Path(own) / name)
        except OSError as error:
            reasons[controller] = f"{own}: {error.strerror}"
    for controller in LIMITING:
        if controller not in limited:
            reasons.setdefault(controller, "no control group of this host has it")
    return Groups(unified=unified, limited=limited, reasons=reasons)


def _make_unified(places: Hierarchies, name: str, reasons: dict[str, str]) -> tuple[Path | None, list[str]]:
    """Our folder in the v2 tree, and the controllers that are switched on for it."""
    best: tuple[Path, list[str]] | None = None
    # Our own group is the right place: outer limits go on holding. It refuses controllers as long as other
    # processes are directly in it; the top, where only root may write, has no such rule.
    for parent in dict.fromkeys(place for place in (places.unified, places.unified_top) if place):
        try:
            enabled = _enable(Path(parent), reasons)
            if best is not None and len(enabled) <= len(best[1]):
                continue
            base = _fresh(Path(parent) / name)
            if not (base / "cgroup.kill").exists():
                reasons["kill"] = "this kernel has no cgroup.kill"
                return None, []
            for controller in enabled:
                (base / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError as error:
            reasons["kill"] = f"{parent}: {error.strerror}"
            continue
        if best is not None:
            remove_tree(best[0])
        best = base, enabled
        if enabled or not _offered(Path(parent)):
            break
    return best if best is not None else (None, [])


def _offered(parent: Path) -> list[str]:
    present = (parent / "cgroup.controllers").read_text().split()
    return [controller for controller in LIMITING if controller in present]


def _enable(parent: Path, reasons: dict[str, str]) -> list[str]:
    enabled = []
    for controller in _offered(parent):
        try:
            (parent / "cgroup.subtree_control").write_text(f"+{controller}")
            enabled.append(controller)
        except OSError as error:
            reasons[controller] = f"{parent}/cgroup.subtree_control: {error.strerror}"
    return enabled


def _fresh(base: Path) -> Path:
    """The folder, without what an earlier daemon left in it."""
    if base.exists():
        logger.info("control groups of an earlier daemon are removed", path=base)
        _end_leftovers(base, time.monotonic() + _CLEAN_LIMIT_S)
        remove_tree(base)
    base.mkdir(exist_ok=True)
    return base


def _end_leftovers(base: Path, deadline: float) -> None:
    """Kills what is in the group and below it, and waits until it is dead."""
    with contextlib.suppress(OSError):
        (base / "cgroup.kill").write_text("1")  # a v1 tree has no such file, and no fork bomb stops for it
    while (pids := list(_members(base))) and time.monotonic() < deadline:
        for pid in pids:
            _end(pid, deadline)


def _members(base: Path) -> Iterator[int]:
    for folder, _, names in os.walk(base):
        if "cgroup.procs" in names:
            with contextlib.suppress(OSError):
                yield from map(int, Path(folder, "cgroup.procs").read_text().split())


def _end(pid: int, deadline: float) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)
