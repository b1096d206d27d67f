"""Fixtures for tests that run real slots: a pool of two, and what must hold after each hostile thing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import trio
from attrs import frozen

import hermes_trio
from hermes_trio.executor import executor as executor_module
from hermes_trio.wire.frames import Lease
from hermes_trio.wire.operations import BashArguments, ReadFileArguments, WriteFileArguments
from sandbox_daemon.isolation.levels import Isolation
from sandbox_daemon.isolation.policy import SlotLimits
from sandbox_daemon.slots.pool import Outcome, SlotPool, SlotPoolConfig, StaleLeaseError, open_slot_pool
from sandbox_daemon.slots.work import RELEASED

_OUR_TASKS = ("hermes_trio.fleet", "hermes_trio.link.pump", "hermes_trio.executor", "hermes_trio.slots")


@pytest.fixture(autouse=True)
def no_task_outlives_its_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a test opens an executor, the task tree is walked when it is closed."""
    really_open = executor_module.open_executor

    @asynccontextmanager
    async def open_and_look(*arguments: Any, **options: Any) -> AsyncIterator[Any]:
        before = tasks_below(trio.lowlevel.current_task())
        try:
            async with really_open(*arguments, **options) as executor:
                yield executor
        finally:
            left = tasks_below(trio.lowlevel.current_task()) - before
            assert [task.name for task in left if task.name.startswith(_OUR_TASKS)] == []

    monkeypatch.setattr(executor_module, "open_executor", open_and_look)
    monkeypatch.setattr(hermes_trio, "open_executor", open_and_look)


def tasks_below(task: trio.lowlevel.Task) -> set[trio.lowlevel.Task]:
    """Its children, and theirs."""
    children = {child for nursery in task.child_nurseries for child in nursery.child_tasks}
    return children.union(*map(tasks_below, children))


NEIGHBOUR_S = 0.05
"""A neighbour's `echo` at the median while something hostile goes on, on a machine that has time."""
PLAIN_S = 0.006
"""A plain process of the same kind, started from a thread, on such a machine. Where it takes longer, others
keep the machine busy, and the neighbour may take longer by the same factor. Figures: benchmarks/."""
ECHO = "echo ok"


class Slots:
    """A pool of two slots: one to attack, one to watch."""

    def __init__(self, pool: SlotPool, lease: Lease, neighbour: Lease) -> None:
        self.pool = pool
        self.lease = lease
        self.neighbour = neighbour
        self._echoes: list[float] = []
        self._plain: list[float] = []

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
        """Processes of slots that are neither an agent nor its launcher: by uid, and by descent."""
        agents = [cell.agent for cell in self.pool._cells.values() if cell.agent is not None]
        known = {agent.pid for agent in agents} | {agent.launcher.pid for agent in agents}
        uids = {agent.launch.uid for agent in agents if agent.launch.uid is not None}
        alive = {process.pid: process for process in processes()}
        return {
            process.pid: process.name
            for process in alive.values()
            if process.pid not in known and (process.uid in uids or descends(process, known, alive))
        }

    async def check(self) -> None:
        """Holds whatever was done: nobody is left, slot and neighbour work, nothing is quarantined."""
        await self.pool.quiesce(self.lease)
        assert self.strays() == {}
        for lease in (self.lease, self.neighbour):
            outcome = await self.pool.bash(lease, BashArguments(command=ECHO), limit_s=10.0)
            assert (outcome.payload, outcome.error) == (b"ok\n", "")
        assert self.pool.statistics().quarantined == 0
        if len(self._echoes) >= 5:
            assert median(self._echoes) < NEIGHBOUR_S * max(1.0, median(self._plain) / PLAIN_S)

    @asynccontextmanager
    async def neighbour_watched(self) -> AsyncIterator[None]:
        """The neighbour's commands are answered, and :meth:`check` will see whether they were quick."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._watch)
            yield
            nursery.cancel_scope.cancel()

    async def _watch(self, task_status: trio.TaskStatus[None]) -> None:
        """Until cancelled, or until the test gives the neighbour's lease away."""
        neighbour = self.neighbour
        while neighbour == self.neighbour:
            began = time.perf_counter()
            await trio.run_process(["/bin/bash", "-c", ECHO], stdout=subprocess.DEVNULL)
            self._plain.append(time.perf_counter() - began)
            try:
                began = time.perf_counter()
                outcome = await self.pool.bash(neighbour, BashArguments(command=ECHO), limit_s=10.0)
            except StaleLeaseError:
                return
            if outcome == RELEASED:
                return
            self._echoes.append(time.perf_counter() - began)
            assert (outcome.payload, outcome.error) == (b"ok\n", "")
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            await trio.sleep(0.02)


@frozen
class Process:
    """One that is not a zombie."""

    pid: int
    parent: int
    uid: int
    name: str


def processes() -> Iterator[Process]:
    """All of this machine."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path(f"/proc/{entry}/stat").read_bytes().decode("utf-8", "replace")
            uid = int(Path(f"/proc/{entry}/status").read_text(errors="replace").split("Uid:")[1].split()[0])
        except (OSError, IndexError):
            continue
        name, _, rest = stat.partition("(")[2].rpartition(")")
        state, parent, *_ = rest.split()
        if state not in "ZX":
            yield Process(int(entry), int(parent), uid, name)


def descends(process: Process, ancestors: set[int], alive: dict[int, Process]) -> bool:
    """Whether it was started by one of them, or by somebody who was."""
    while process.parent in alive:
        if process.parent in ancestors:
            return True
        process = alive[process.parent]
    return False


@asynccontextmanager
async def open_slots(
    isolation: Isolation, data_dir: Path, *, watched: bool = True, **more: Any
) -> AsyncIterator[Slots]:
    """Two slots at some level, and what is asserted of every attack: see :class:`Slots`."""
    config = SlotPoolConfig(slots=2, data_dir=data_dir, **more)
    async with open_slot_pool(config, isolation) as pool:
        lease = await pool.acquire(owner="test", trajectory_id="attacked")
        neighbour = await pool.acquire(owner="test", trajectory_id="neighbour")
        made = Slots(pool, lease, neighbour)
        async with made.neighbour_watched() if watched else nullcontext():
            yield made
        await made.check()


@pytest.fixture
def attacked() -> Callable[..., AbstractAsyncContextManager[Slots]]:
    """:func:`open_slots`, for tests that bring their own isolation."""
    return open_slots


@pytest.fixture
async def slots(
    request: pytest.FixtureRequest, probe_isolation: Isolation, tmp_path: Path
) -> AsyncIterator[Slots]:
    """Two slots; where the test is ``hostile``, one is watched while the other is attacked."""
    watched = request.node.get_closest_marker("hostile") is not None
    async with open_slots(probe_isolation, tmp_path / "data", watched=watched) as made:
        yield made


@pytest.fixture
def limited(probe_isolation: Isolation, tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Slots]]:
    """Opens two slots with limits that the test chooses."""

    def open_limited(**limits: Any) -> AbstractAsyncContextManager[Slots]:
        return open_slots(probe_isolation, tmp_path / "limited", limits=SlotLimits(**limits))

    return open_limited


@frozen
class Served:
    """A `hermes-trio serve` that runs."""

    process: subprocess.Popen[bytes]
    url: str
    port: int


Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def serve_program() -> Iterator[Serve]:
    """Starts `hermes-trio serve` with options and an environment; ends it with the module."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str, environment: Mapping[str, str] | None = None) -> Served:
        command = [sys.executable, "-m", "hermes_trio", "serve", "--port", "0", "--json", *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **(environment or {})})
        started.append(process)
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        return Served(process, told["url"], told["port"])

    try:
        yield start
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.communicate(timeout=60)
