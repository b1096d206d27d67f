"""Watches this process and the daemons below it: their memory, and who must be gone at the end."""

from __future__ import annotations

import os

import trio
from attrs import define, field

from benchmarks.lib.processes import (
    Process,
    command_line,
    daemon_data_dir,
    descendants,
    list_processes,
    resident_bytes,
)

INTERVAL_S = 0.5
_MIB = 1024 * 1024


@define
class Memory:
    """Resident bytes of one side over a run."""

    warm_bytes: int | None = None
    """Once a tenth of the work was done: pools are full, code is loaded."""
    peak_bytes: int = 0
    last_bytes: int = 0

    def record(self, resident: int, *, warm: bool) -> None:
        """Takes one sample; ``0`` means that nobody was there."""
        if not resident:
            return
        if warm and self.warm_bytes is None:
            self.warm_bytes = resident
        self.peak_bytes = max(self.peak_bytes, resident)
        self.last_bytes = resident

    @property
    def growth_mib(self) -> float | None:
        """From warm to the last sample; ``None`` when it was never seen warm."""
        return None if self.warm_bytes is None else (self.last_bytes - self.warm_bytes) / _MIB


@define
class Watch:
    """Samples ``/proc``. Set ``warm_after``, count ``done``, run :meth:`run` beside the work.

    A process *survives* when it was seen among our descendants, or is a child of one that was, and is
    alive after everything was closed. Who leaves its parents is seen all the same: orphans of a PID namespace
    become children of its first process, our descendant for as long as the namespace lives. (The number of a
    namespace proves nothing: the kernel gives it to somebody else as soon as it is free.)
    """

    daemon: Memory = field(factory=Memory)
    executor: Memory = field(factory=Memory)
    warm_after: int = 0
    done: int = 0
    _seen: set[tuple[int, int]] = field(factory=set, repr=False)
    _data_dirs: set[str] = field(factory=set, repr=False)

    async def run(self) -> None:
        """Looks twice a second until cancelled.

        Cancellation: *atomic*.
        """
        while True:
            # Some hundred small files: not on the loop, whose latency is measured meanwhile.
            await trio.to_thread.run_sync(self.look)
            await trio.sleep(INTERVAL_S)

    def look(self) -> None:
        """Takes one sample."""
        processes = list_processes()
        below = descendants(os.getpid(), processes)
        # The dead cannot survive: forgetting them keeps our own memory, which is measured here too, flat.
        alive = {(process.pid, process.started) for process in processes.values()}
        self._seen = (self._seen & alive) | {(process.pid, process.started) for process in below}
        found = {each.pid: daemon_data_dir(command_line(each.pid)) for each in below}
        daemons = {pid: data_dir for pid, data_dir in found.items() if data_dir is not None}
        self._data_dirs |= set(daemons.values())
        warm = self.done >= self.warm_after
        self.executor.record(resident_bytes(os.getpid()), warm=warm)
        self.daemon.record(sum(map(resident_bytes, daemons)), warm=warm)

    def survivors(self) -> list[Process]:
        """Who should be gone by now; ask after everything was closed."""
        processes = list_processes()
        known = [each for each in processes.values() if (each.pid, each.started) in self._seen]
        found = {each.pid: each for one in known for each in (one, *descendants(one.pid, processes))}
        return list(found.values())

    def left_directories(self) -> list[str]:
        """Data directories of our daemons that are still there; ask after everything was closed."""
        return sorted(path for path in self._data_dirs if os.path.exists(path))
