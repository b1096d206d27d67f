"""Slots in this process, without an executor and a wire: for what must be measured next to them."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from benchmarks.lib.processes import Process, descendants, list_processes
from hermes_trio.wire.frames import Lease
from sandbox_daemon.isolation.probe import probe
from sandbox_daemon.slots.pool import SlotPool, SlotPoolConfig, open_slot_pool


@asynccontextmanager
async def open_slots(count: int, *, isolation: str) -> AsyncIterator[tuple[SlotPool, list[Lease]]]:
    """A pool, and a lease of each of its slots.

    Cancellation: *shielded, at most 20 s*: every slot is killed first.
    """
    with tempfile.TemporaryDirectory(prefix="hermes-bench-", dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        data = Path(folder) / "data"
        found = await probe(isolation, data)
        async with open_slot_pool(SlotPoolConfig(slots=count, data_dir=data), found) as pool:
            leases = [await pool.acquire(owner="bench", trajectory_id=str(n)) for n in range(count)]
            yield pool, leases


def processes_in(pool: SlotPool) -> list[Process]:
    """Processes in its slots, besides the agents."""
    everybody: Mapping[int, Process] = list_processes()
    agents = [cell.agent.pid for cell in pool._cells.values() if cell.agent is not None]
    return [process for agent in agents for process in descendants(agent, everybody)]


class LongestStep(trio.abc.Instrument):
    """How long a task kept the loop to itself, at worst: what a reader of frames would wait.

    In wall time, and in processor time: the difference is what the scheduler gave to others meanwhile.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.longest_cpu_s = 0.0
        self._began_s = time.perf_counter()
        self._began_cpu_s = time.thread_time()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """The loop is the task's."""
        self._began_s = time.perf_counter()
        self._began_cpu_s = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """And is free again."""
        self.longest_s = max(self.longest_s, time.perf_counter() - self._began_s)
        self.longest_cpu_s = max(self.longest_cpu_s, time.thread_time() - self._began_cpu_s)
