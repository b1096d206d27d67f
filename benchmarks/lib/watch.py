"""Watches this process and the daemons below it: their memory, and who must be gone at the end."""

from __future__ import annotations

import os

import trio
from attrs import define, field

from benchmarks.lib.processes import (
    Process,
    descendants,
    is_running_module,
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

    A process *survives* when it is alive after everything was closed and either was seen among our
    descendants, or lives in a PID namespace in which we have seen one: leaving one's parents is no escape.
    """

    daemon: Memory = field(factory=Memory)
    executor: Memory = field(factory=Memory)
    warm_after: int = 0
    done: int = 0
    _seen: set[tuple[int, int]] = field(factory=set, repr=False)
    _namespaces: set[str] = field(factory=set, repr=False)

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
        own = os.readlink("/proc/self/ns/pid")
        self._seen |= {(process.pid, process.started) for process in below}
        self._namespaces |= {process.pid_namespace for process in below} - {"", own}
        warm = self.done >= self.warm_after
        self.executor.record(resident_bytes(os.getpid()), warm=warm)
        daemons = [each.pid for each in below if is_running_module(each.pid, "sandbox_daemon")]
        self.daemon.record(sum(map(resident_bytes, daemons)), warm=warm)

    def survivors(self) -> list[Process]:
        """Who should be gone by now; ask after everything was closed."""
        return [
            process
            for process in list_processes().values()
            if (process.pid, process.started) in self._seen or process.pid_namespace in self._namespaces
        ]
