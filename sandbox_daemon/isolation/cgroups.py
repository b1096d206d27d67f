"""Control groups of the slots: limits that bind, and groups in which a call's processes die together.

::

    <our own group>/hermes-trio-<id>/      the id names the data directory: the next daemon finds what is left
        slot_3/                            the limits of the slot; killing it kills everything in the slot
            agent/                         PID 1
            call_0/  call_1/ ...           one running command each, used again and again

The v2 tree has all of it, the v1 trees of a hybrid host ``slot_3`` only. A process enters by its own write:
the agent is passed open descriptors of ``cgroup.procs``, writes to the call's, spawns, and writes to its own
to get out, so that a command is born where it belongs and there is no moment in which it could fork outside.
(Permissions are those of whoever opened the file: Linux 5.16, and the stable kernels it was carried into.)

``cgroup.kill`` reaches every process of a group at once, whatever it has made of its session or parents, and
``populated 0`` is the proof that none is left. Linux 5.14.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import trio
from attrs import define

from sandbox_daemon.isolation.hierarchies import Hits, counted, memberships
from sandbox_daemon.isolation.precedence import Precedence

_READ_BYTES: Final = 4096
_MAX_SPARE: Final = 32
"""Groups of a slot that wait for commands; each holds four descriptors of the daemon."""


@define(eq=False)
class CallGroup:
    """The group of one command. Made by :class:`SlotGroup`; its descriptors live as long as that."""

    path: Path
    procs: int
    kill_fd: int
    events: int
    _usage: int

    @classmethod
    def open(cls, path: Path) -> CallGroup:
        """Makes the group and opens what is needed of it. ``OSError`` when the host refuses."""
        path.mkdir(exist_ok=True)
        return cls(
            path,
            procs=os.open(path / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC),
            kill_fd=os.open(path / "cgroup.kill", os.O_WRONLY | os.O_CLOEXEC),
            events=os.open(path / "cgroup.events", os.O_RDONLY | os.O_CLOEXEC),
            usage=os.open(path / "cpu.stat", os.O_RDONLY | os.O_CLOEXEC),
        )

    def populated(self) -> bool:
        """Whether a process of the group lives."""
        return b"populated 1" in os.pread(self.events, _READ_BYTES, 0)

    def count(self) -> int:
        """Processes of the group."""
        return len((self.path / "cgroup.procs").read_bytes().split())

    def kill(self) -> None:
        """SIGKILL to every process of the group. The agent must not be in it: it is while it spawns."""
        os.write(self.kill_fd, b"1")

    def cpu_us(self) -> int:
        """Processor time of the group since it was made."""
        return counted(os.pread(self._usage, _READ_BYTES, 0).decode("ascii"), "usage_usec")

    def close(self) -> None:
        """Gives up the descriptors, and the group when it is empty."""
        for descriptor in (self.procs, self.kill_fd, self.events, self._usage):
            os.close(descriptor)
        with contextlib.suppress(OSError):
            self.path.rmdir()


class SlotGroup:
    """The groups of one slot, one in each tree that is used.

    Args:
        unified: its folder in the v2 tree; ``None``: no call groups, no kill from here.
        limited: its folder by controller, wherever that controller is.
        precedence: among the slots of its daemon.
    """

    def __init__(
        self, unified: Path | None, limited: Mapping[str, Path], precedence: Precedence | None = None
    ) -> None:
        self._unified = unified
        self._limited = limited
        self._precedence = precedence or Precedence(None)
        self._spare: list[CallGroup] = []
        self._made = 0
        self._oom = _Counter(limited.get("memory"), "oom_kill", files=("memory.events", "memory.oom_control"))
        self._forks = _Counter(limited.get("pids"), "max", files=("pids.events",))

    def __repr__(self) -> str:
        held = ", ".join(sorted(self._limited)) or "nothing"
        return f"<SlotGroup {self._unified} limits {held}, {self._made} call groups>"

    @property
    def contains_calls(self) -> bool:
        """Whether each call has a group of its own; without, only the whole slot can be swept."""
        return self._unified is not None

    @property
    def held(self) -> frozenset[str]:
        """Controllers that hold the slot's limits."""
        return frozenset(self._limited)

    @contextlib.contextmanager
    def entrances(self) -> Iterator[list[int]]:
        """Descriptors through which the agent enters: its own group first, when calls have theirs."""
        paths = [] if self._unified is None else [self._unified / "agent"]
        paths += [path for path in dict.fromkeys(self._limited.values()) if path != self._unified]
        with contextlib.ExitStack() as stack:
            descriptors = []
            for path in paths:
                descriptor = os.open(path / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
                stack.callback(os.close, descriptor)
                descriptors.append(descriptor)
            yield descriptors

    def holds(self, pid: int) -> bool:
        """Whether the kernel says that this process is in the slot's groups, in every tree."""
        paths = dict(memberships(Path(f"/proc/{pid}/cgroup").read_text()))
        places = {name: place for name, place in self._limited.items() if place != self._unified}
        if self._unified is not None:
            places[""] = self._unified
        return all(_names(paths.get(name, ""), place) for name, place in places.items())

    def preferred(self) -> contextlib.AbstractContextManager[None]:
        """While the body runs, the slot goes before the others; see :class:`Precedence`."""
        return self._precedence.prefer(self._limited.get("cpu"))

    def standing_back(self) -> contextlib.AbstractContextManager[None]:
        """While the body runs, all slots of the daemon leave more processor time to it."""
        return self._precedence.stand_back()

    def take(self) -> CallGroup | None:
        """A group for one command; ``None`` where there are none. ``OSError`` when the host refuses."""
        if self._unified is None:
            return None
        if self._spare:
            return self._spare.pop()
        self._made += 1
        return CallGroup.open(self._unified / f"call_{self._made}")

    def give_back(self, group: CallGroup) -> None:
        """The command is over. A group that is not empty is not used again, and few are kept."""
        if group.populated() or len(self._spare) >= _MAX_SPARE:
            group.close()
        else:
            self._spare.append(group)

    def hits(self) -> Hits:
        """The counters now."""
        return Hits(self._oom.read(), self._forks.read())

    def kill(self) -> None:
        """SIGKILL to everything in the slot, the agent included."""
        if self._unified is not None:
            (self._unified / "cgroup.kill").write_text("1")

    def is_alone(self, pid: int) -> bool:
        """Whether the kernel says that this process is all that lives in the slot; without groups: no."""
        if self._unified is None:
            return False
        groups = [entry.path for entry in os.scandir(self._unified) if entry.is_dir()]
        found = [(Path(group) / "cgroup.procs").read_text().split() for group in groups]
        return [number for numbers in found for number in numbers] == [str(pid)]

    def populated(self) -> bool:
        """Whether anything in the slot lives, as far as the v2 tree tells."""
        if self._unified is None:
            return False
        return "populated 1" in (self._unified / "cgroup.events").read_text()

    async def wait_empty(self) -> None:
        """Waits until nothing in the slot lives.

        Cancellation: atomic.
        """
        if self._unified is None:
            await trio.lowlevel.checkpoint()
            return
        events = os.open(self._unified / "cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        try:
            await _wait_unpopulated(events)
        finally:
            os.close(events)

    def close(self) -> None:
        """Gives up all descriptors and removes the groups that are empty."""
        for group in self._spare:
            group.close()
        self._oom.close()
        self._forks.close()
        for path in (self._unified, *self._limited.values()):
            if path is not None:
                remove_tree(path)


async def _wait_unpopulated(events: int) -> None:
    """These files are always readable; a change is told as a priority event, which Trio does not know."""
    with select.epoll() as changes:
        changes.register(events, select.EPOLLPRI)
        while b"populated 1" in os.pread(events, _READ_BYTES, 0):
            await trio.lowlevel.wait_readable(changes.fileno())
    await trio.lowlevel.checkpoint()


def _names(path: str, place: Path) -> bool:
    """Whether a path of ``/proc/PID/cgroup`` ends in this slot's part of it, or below that."""
    mark = "/" + "/".join(place.parts[-2:])
    return path.endswith(mark) or mark + "/" in path


class _Counter:
    """A number in the first of these files that is there; 0 where none is."""

    def __init__(self, folder: Path | None, name: str, *, files: Sequence[str]) -> None:
        self._name = name
        self._descriptor = _open_first(folder, files)
        self._seen = b""
        self._value = 0

    def read(self) -> int:
        if self._descriptor is not None:
            raw = os.pread(self._descriptor, _READ_BYTES, 0)
            if raw != self._seen:  # it is asked for twice a command, and hardly ever changes
                self._value = counted(raw.decode("ascii"), self._name)
                self._seen = raw
        return self._value

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


def _open_first(folder: Path | None, names: Sequence[str]) -> int | None:
    if folder is not None:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                return os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC)
    return None


def remove_tree(base: Path) -> bool:
    """Removes a group and those below it, as far as they are empty. True: it is gone."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(base):
            if entry.is_dir(follow_symlinks=False):
                remove_tree(Path(entry.path))
        base.rmdir()
    return not base.exists()
