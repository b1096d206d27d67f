"""Watches the processes below this one: what executor and daemons hold, and who must be gone at the end.

The executor is one of them. Watching is hundreds of small files twice a second, and a picture of the host's
files before and after; in the executor's own process that would be most of the memory that is measured.
"""

from __future__ import annotations

import os

import trio
from attrs import define, field

from benchmarks.lib.memory import MemorySeries
from benchmarks.lib.processes import (
    Process,
    command_line,
    daemon_data_dir,
    descendants,
    list_processes,
    own_bytes,
)

INTERVAL_S = 0.5


@define
class Watch:
    """Samples ``/proc``. Run :meth:`run` beside the work, call :meth:`measure` at several points of it.

    A process *survives* when it was seen among our descendants, or is a child of one that was, and is
    alive after everything was closed. Who leaves its parents is seen all the same: orphans of a PID namespace
    become children of its first process, our descendant for as long as the namespace lives. (The number of a
    namespace proves nothing: the kernel gives it to somebody else as soon as it is free.)
    """

    daemon: MemorySeries = field(factory=MemorySeries)
    executor: MemorySeries = field(factory=MemorySeries)
    _daemons: tuple[int, ...] = ()
    _seen: set[tuple[int, int]] = field(factory=set, repr=False)
    _data_dirs: set[str] = field(factory=set, repr=False)

    async def run(self) -> None:
        """Looks twice a second until cancelled.

        Cancellation: *atomic*.
        """
        while True:
            await trio.to_thread.run_sync(self.look)
            await trio.sleep(INTERVAL_S)

    def look(self) -> None:
        """Finds who is below us now, and which of them are daemons."""
        processes = list_processes()
        below = {process.pid: process for process in descendants(os.getpid(), processes)}
        # The dead cannot survive: what is kept is bounded by what lives.
        alive = {(process.pid, process.started) for process in processes.values()}
        self._seen = (self._seen & alive) | {(process.pid, process.started) for process in below.values()}
        found = {pid: daemon_data_dir(command_line(pid)) for pid in below}
        daemons = {pid: data_dir for pid, data_dir in found.items() if data_dir is not None}
        self._data_dirs |= set(daemons.values())
        # A daemon that is starting something is there twice for a moment, under the same words.
        self._daemons = tuple(pid for pid in daemons if below[pid].parent not in daemons)

    def measure(self, executor: int, *, calls: int) -> None:
        """Takes a point of each side's memory, after so many calls.

        Args:
            executor: pid of its process.
            calls: that are over.
        """
        self.executor.record(calls, own_bytes(executor))
        self.daemon.record(calls, sum(map(own_bytes, self._daemons)))

    def survivors(self) -> list[Process]:
        """Who should be gone by now; ask after everything was closed."""
        processes = list_processes()
        known = [each for each in processes.values() if (each.pid, each.started) in self._seen]
        found = {each.pid: each for one in known for each in (one, *descendants(one.pid, processes))}
        return list(found.values())

    def left_directories(self) -> list[str]:
        """Data directories of our daemons that are still there; ask after everything was closed."""
        return sorted(path for path in self._data_dirs if os.path.exists(path))
