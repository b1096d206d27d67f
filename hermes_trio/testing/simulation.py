"""A whole run in one process, on a virtual clock, with accidents by a seed: the same seed is the same run.

Everything above the link is the real thing: executor, slot pool, fleet, pump, session. The daemons are fakes,
the links live in memory and have bad luck. Each trajectory appends to a ledger in its slot and reads it back;
what was asked, answered and done is written down, and judged at the end (``history.py``).
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import trio
import trio.testing
from attrs import field, frozen
from trio._core import _run as trio_run

from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.executor import Executor, ExecutorStatistics, open_executor
from hermes_trio.link.message import MessageLink
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.faulty_link import Faults, FaultyLink
from hermes_trio.testing.history import History, violations
from hermes_trio.testing.memory_backend import open_memory_backend
from hermes_trio.tools.calls import ToolCall, ToolResult


@frozen(kw_only=True)
class World:
    """What is simulated.

    Args:
        trajectories: how many, all at once.
        calls: of each, one after another.
        daemons: how many.
        slots: of each daemon.
        arrive_within_s: trajectories begin at random moments within this time.
        longest_call_s: each command sleeps a while, up to this.
        faults: of the links.
        kills: daemons that die and are started again, at random moments.
        impatience: the chance that a caller cancels a call after a moment.
        config: the executor's.
    """

    trajectories: int = 1000
    calls: int = 1
    daemons: int = 4
    slots: int = 64
    arrive_within_s: float = 30.0
    longest_call_s: float = 5.0
    faults: Faults = field(factory=Faults)
    kills: int = 0
    impatience: float = 0.0
    config: ExecutorConfig = field(factory=lambda: ExecutorConfig(heartbeat_s=1, dead_after_s=5))


@frozen(kw_only=True)
class Simulated:
    """What came of it."""

    seed: int
    history: History
    violations: tuple[str, ...]
    """Broken promises, one line each."""
    faults: Mapping[str, int]
    """What the links suffered."""
    statistics: ExecutorStatistics
    """Of the executor, after everything was released."""
    virtual_s: float
    real_s: float

    def endings(self) -> Mapping[str, int]:
        """How many calls ended in which way."""
        return Counter(end.provenance.value for ends in self.history.endings.values() for end in ends)

    def __str__(self) -> str:
        """One line for a log; the seed is what a replay needs."""
        return (
            f"seed {self.seed}: {dict(self.endings())}, faults {dict(self.faults)},"
            f" {self.statistics.reconnects} reconnects, {self.virtual_s:.0f} s in {self.real_s:.2f} s,"
            f" {len(self.violations)} violations"
        )


def simulate(world: World, *, seed: int) -> Simulated:
    """Run a world from beginning to end. Not from within Trio: it has a clock of its own.

    Args:
        world: what is simulated.
        seed: of everything that is left to chance, the scheduler's order included.

    Returns:
        What came of it; look at ``violations`` first.
    """
    began = time.perf_counter()
    with _scheduled_by(seed):
        clock = trio.testing.MockClock(autojump_threshold=0)
        return trio.run(_run, world, seed, began, clock=clock)


@contextmanager
def _scheduled_by(seed: int) -> Iterator[None]:
    """Trio shuffles what is runnable, on purpose; it has a private switch for those who test schedulers."""
    shuffled, state = trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r.getstate()
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio_run._r.seed(seed)
    try:
        yield
    finally:
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = shuffled  # type: ignore[misc]
        trio_run._r.setstate(state)


async def _run(world: World, seed: int, began: float) -> Simulated:
    dice = random.Random(seed)  # noqa: S311 - it must be the same each time
    daemons = {f"daemon-{n}": FakeDaemon(slots=world.slots) for n in range(world.daemons)}
    links: list[FaultyLink] = []

    def wrap(link: MessageLink) -> MessageLink:
        links.append(FaultyLink(link, faults=world.faults, dice=random.Random(dice.random())))  # noqa: S311
        return links[-1]

    history = History()
    async with open_memory_backend(daemons, wrap=wrap) as backend:
        async with (
            open_executor(backend, config=world.config, chance=dice.random) as executor,
            trio.open_nursery() as nursery,
        ):
            for number in range(world.trajectories):
                user = _User(f"t{number}", world, executor, history, random.Random(dice.random()))  # noqa: S311
                nursery.start_soon(user.live)
            for _ in range(world.kills):
                victim = dice.choice(list(daemons.values()))
                nursery.start_soon(_kill, victim, dice.uniform(0, world.arrive_within_s))
        statistics = executor.statistics()
    _read_ledgers(history, daemons)
    return Simulated(
        seed=seed,
        history=history,
        violations=violations(history),
        faults=Counter(fault for link in links for fault in link.happened),
        statistics=statistics,
        virtual_s=trio.current_time(),
        real_s=time.perf_counter() - began,
    )


async def _kill(daemon: FakeDaemon, after_s: float) -> None:
    await trio.sleep(after_s)
    daemon.kill()


def _read_ledgers(history: History, daemons: Mapping[str, FakeDaemon]) -> None:
    for name, daemon in daemons.items():
        for slot, epoch, what in daemon.leases:
            note = history.lease if what == "leased" else history.give_back
            note(f"{name}/{slot}", epoch)
        for fake in daemon.slots.values():
            for command in fake.ran:
                history.effect(command.split()[1])


class _User:
    """One trajectory. What it writes bears the number of its slot: in the next one it must be gone."""

    def __init__(
        self, name: str, world: World, executor: Executor, history: History, dice: random.Random
    ) -> None:
        self._name = name
        self._world = world
        self._executor = executor
        self._history = history
        self._dice = dice
        self._slots = 0

    async def live(self) -> None:
        await trio.sleep(self._dice.uniform(0, self._world.arrive_within_s))
        for number in range(self._world.calls):
            result = await self._call(f"{self._name}#{self._slots}/{number}")
            if result is not None and result.provenance.is_infrastructure:
                await self._release()
        await self._release()

    async def _call(self, call: str) -> ToolResult | None:
        nap_s = self._dice.uniform(0, self._world.longest_call_s)
        command = f"echo {call} >> ledger && cat ledger && sleep {nap_s:.3f}"
        self._history.ask(call, trajectory=self._name)
        impatient = self._dice.random() < self._world.impatience
        with trio.move_on_after(self._dice.uniform(0, nap_s) if impatient else float("inf")):
            result = await self._executor.execute(self._name, ToolCall("bash", {"command": command}))
            self._history.end(call, result.provenance, result.metadata.get("outcome", ""))
            for line in result.output.split():
                self._history.read(reader=call.partition("/")[0], writer=line.partition("/")[0])
            return result
        self._history.leave(call)
        return None

    async def _release(self) -> None:
        self._slots += 1
        await self._executor.release(self._name)
