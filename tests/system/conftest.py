"""Fixtures for tests that run real slots: a pool of two, and what must hold after each hostile thing."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import trio

from hermes_trio.wire.frames import Lease
from hermes_trio.wire.operations import BashArguments, ReadFileArguments, WriteFileArguments
from sandbox_daemon.isolation.levels import Isolation
from sandbox_daemon.isolation.policy import SlotLimits
from sandbox_daemon.isolation.probe import probe
from sandbox_daemon.slots.pool import Outcome, SlotPool, SlotPoolConfig, open_slot_pool

NEIGHBOUR_S = 0.05
"""A neighbour's `echo` at the median while something hostile goes on; single ones may be late."""


class Slots:
    """A pool of two slots: one to attack, one to watch."""

    def __init__(self, pool: SlotPool, lease: Lease, neighbour: Lease) -> None:
        self.pool = pool
        self.lease = lease
        self.neighbour = neighbour

    async def bash(self, command: str, *, limit_s: float = 20.0, stdin: bytes = b"", **more: Any) -> Outcome:
        """A command in the attacked slot."""
        arguments = BashArguments(command=command, **more)
        return await self.pool.bash(self.lease, arguments, stdin=stdin, limit_s=limit_s)

    async def text(self, command: str, **more: Any) -> str:
        """What a command printed, both streams."""
        return (await self.bash(command, **more)).payload.decode("utf-8", "replace")

    async def read(self, path: str, **more: Any) -> Outcome:
        """A file of the attacked slot."""
        return await self.pool.read_file(self.lease, ReadFileArguments(path=path, **more))

    async def write(self, path: str, content: bytes, **more: Any) -> Outcome:
        """A file of the attacked slot."""
        return await self.pool.write_file(self.lease, WriteFileArguments(path=path, **more), content=content)

    @property
    def workspace(self) -> Path:
        """The attacked slot's workspace on the host."""
        return self.pool._site.storage.workspace(self.lease.slot)

    def agent_pid(self) -> int:
        """PID of the attacked slot's agent on the host."""
        agent = self.pool._cells[self.lease.slot].agent
        assert agent is not None
        return agent.pid

    def strays(self) -> dict[int, str]:
        """Processes of slots that are neither an agent nor its launcher."""
        agents = [cell.agent for cell in self.pool._cells.values() if cell.agent is not None]
        known = {agent.pid for agent in agents} | {agent.launcher.pid for agent in agents}
        uids = {agent.launch.uid for agent in agents if agent.launch.uid is not None}
        return {pid: name for pid, uid, name in processes() if uid in uids and pid not in known} | {
            pid: "child of an agent" for agent in agents for pid in children(agent.pid)
        }

    async def check(self) -> None:
        """Holds whatever was done: nobody is left, slot and neighbour work, nothing is quarantined."""
        await self.pool.quiesce(self.lease)
        assert self.strays() == {}
        for lease in (self.lease, self.neighbour):
            outcome = await self.pool.bash(lease, BashArguments(command="echo ok"), limit_s=10.0)
            assert (outcome.payload, outcome.error) == (b"ok\n", "")
        assert self.pool.statistics().quarantined == 0

    @asynccontextmanager
    async def neighbour_watched(self) -> AsyncIterator[None]:
        """The neighbour's commands stay quick while the body runs."""
        took: list[float] = []

        async def watch() -> None:
            while True:
                began = time.perf_counter()
                await self.pool.bash(self.neighbour, BashArguments(command="echo ok"), limit_s=10.0)
                took.append(time.perf_counter() - began)
                await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            yield
            nursery.cancel_scope.cancel()
        if len(took) >= 5:
            assert median(took) < NEIGHBOUR_S


def processes() -> Iterator[tuple[int, int, str]]:
    """PID, uid and name of every process that is not a zombie."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path(f"/proc/{entry}/stat").read_bytes().decode("utf-8", "replace")
            uid = int(Path(f"/proc/{entry}/status").read_text(errors="replace").split("Uid:")[1].split()[0])
        except (OSError, IndexError):
            continue
        name, _, rest = stat.partition("(")[2].rpartition(")")
        if rest.split()[0] not in "ZX":
            yield int(entry), uid, name


def children(pid: int) -> list[int]:
    """Direct children that live; a dead one may still wait for its agent to collect it."""
    try:
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in pids if _lives(child)]


def _lives(pid: str) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.fixture(scope="session")
def probe_isolation() -> Isolation:
    """What this host holds at best."""
    with tempfile.TemporaryDirectory() as folder:
        return trio.run(probe, "auto", Path(folder))


@asynccontextmanager
async def open_slots(isolation: Isolation, data_dir: Path, **more: Any) -> AsyncIterator[Slots]:
    """Two slots at some level."""
    config = SlotPoolConfig(slots=2, data_dir=data_dir, **more)
    async with open_slot_pool(config, isolation) as pool:
        lease = await pool.acquire(owner="test", trajectory_id="attacked")
        neighbour = await pool.acquire(owner="test", trajectory_id="neighbour")
        yield Slots(pool, lease, neighbour)


@pytest.fixture
async def slots(probe_isolation: Isolation, tmp_path: Path) -> AsyncIterator[Slots]:
    """Two slots, and the shared assertions at the end."""
    async with open_slots(probe_isolation, tmp_path / "data") as made:
        yield made
        await made.check()


@pytest.fixture
def limited(probe_isolation: Isolation, tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Slots]]:
    """Opens two slots with limits that the test chooses."""

    def open_limited(**limits: Any) -> AbstractAsyncContextManager[Slots]:
        return open_slots(probe_isolation, tmp_path / "limited", limits=SlotLimits(**limits))

    return open_limited
