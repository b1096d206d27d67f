"""What commands must leave as it was: files outside the workspaces, mounts, cgroups, temporary files."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import frozen

MAX_ENTRIES = 300_000
"""A home directory may hold millions; what lies beyond is not compared, and the report says so."""
SHOWN = 20
_DATA_PREFIX = "hermes-trio-"
"""Directories of daemons, ours or of others on this machine: they come and go, and hold workspaces. Whether
our own are gone is asked of :class:`benchmarks.lib.watch.Watch`, which knows their names."""


@frozen(kw_only=True)
class Stamp:
    """Enough to see that a file was touched."""

    size: int
    modified_ns: int
    mode: int


@frozen(kw_only=True)
class HostState:
    """One moment of the host."""

    files: dict[str, Stamp]
    complete: bool
    """False when there were more than ``MAX_ENTRIES``."""
    mounts: frozenset[str]
    cgroups: frozenset[str]
    temporary: frozenset[str]
    """Names directly in the temporary directory."""

    def digest(self) -> str:
        """SHA-256 over names, sizes, times and modes."""
        hasher = hashlib.sha256()
        for name, stamp in sorted(self.files.items()):
            hasher.update(
                f"{name}\0{stamp.size}\0{stamp.modified_ns}\0{stamp.mode}\n".encode(errors="replace")
            )
        return hasher.hexdigest()


@frozen(kw_only=True)
class HostChanges:
    """What is different; each list holds the first few only."""

    files: tuple[str, ...]
    mounts: tuple[str, ...]
    cgroups: tuple[str, ...]
    temporary: tuple[str, ...]


def watched_roots(*, home: bool = True) -> dict[str, Path]:
    """The places where a command that got out would leave traces, by the names used in reports.

    Args:
        home: with the home directory, which can take seconds to walk.
    """
    roots = {name: Path(name) for name in ("/etc", "/usr/local", "/var/tmp")}
    path = os.environ.get("HOME")
    return {**roots, "$HOME": Path(path)} if home and path else roots


def capture_host_state(roots: Mapping[str, Path]) -> HostState:
    """Walks the roots; takes a second or two. Run it in a thread."""
    files: dict[str, Stamp] = {}
    complete = True
    for name, stamp in _walk_all(roots):
        if len(files) >= MAX_ENTRIES:
            complete = False
            break
        files[name] = stamp
    return HostState(
        files=files,
        complete=complete,
        mounts=_mount_points(),
        cgroups=_cgroups(),
        temporary=frozenset(os.listdir(tempfile.gettempdir())),
    )


def compare(before: HostState, after: HostState) -> HostChanges:
    """What appeared, went or changed; of mounts, cgroups and temporary files only what appeared."""
    names = before.files.keys() | after.files.keys()
    changed = (name for name in names if before.files.get(name) != after.files.get(name))
    return HostChanges(
        files=_first(changed),
        mounts=_first(after.mounts - before.mounts),
        cgroups=_first(after.cgroups - before.cgroups),
        temporary=_first(after.temporary - before.temporary),
    )


def _first(names: Iterator[str] | frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(names)[:SHOWN])


def _walk_all(roots: Mapping[str, Path]) -> Iterator[tuple[str, Stamp]]:
    for label, root in roots.items():
        for folder, folders, names in os.walk(root):
            if folder == str(root):
                folders[:] = [name for name in folders if not name.startswith(_DATA_PREFIX)]
            shown = label + folder[len(str(root)) :]
            for path, name in [(folder, shown), *((f"{folder}/{each}", f"{shown}/{each}") for each in names)]:
                stamp = _stamp(path)
                if stamp is not None:
                    yield name, stamp


def _stamp(path: str) -> Stamp | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    if stat.S_ISDIR(found.st_mode):
        # Its time changes when anybody's temporary file comes and goes; what stays is seen by its own name.
        return Stamp(size=0, modified_ns=0, mode=found.st_mode)
    return Stamp(size=found.st_size, modified_ns=found.st_mtime_ns, mode=found.st_mode)


def _mount_points() -> frozenset[str]:
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(line.split()[4] for line in lines)


def _cgroups() -> frozenset[str]:
    root = "/sys/fs/cgroup"
    return frozenset(folder[len(root) :] for folder, _, _ in os.walk(root))
