"""Everything at random, daemons that die and return: nobody is forgotten, and nothing leaks."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping

import pytest
import trio
import trio.testing

from hermes_trio.errors import HermesTrioError
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.calls import ToolCall

SECONDS = 200.0


class World:
    """One seed's worth of users and accidents."""

    def __init__(self, seed: int, executor: Executor, daemons: list[FakeDaemon]) -> None:
        self.random = random.Random(seed)
        self.executor = executor
        self.daemons = daemons
        self.entered = self.answered = self.left = 0

    async def use(self, trajectory: str) -> None:
        """One user of a trajectory; others use it too."""
        while trio.current_time() < SECONDS:
            with trio.move_on_after(self.random.choice([0.0, 0.5, 3.0, 60.0])):
                await self.act(trajectory)
            await trio.sleep(self.random.random())

    async def act(self, trajectory: str) -> None:
        """Mostly calls; sometimes a release, or a verifier's question."""
        match self.random.randrange(6):
            case 0:
                await self.executor.release(trajectory, reset_workspace=self.random.random() < 0.8)
            case 1:
                try:
                    await self.executor.quiesce(trajectory)
                except HermesTrioError:
                    await trio.lowlevel.checkpoint()
            case _:
                await self.call(trajectory)

    async def call(self, trajectory: str) -> None:
        """Numbered in the order of entering, so that the daemon's ledger can be compared."""
        self.entered += 1
        command = f"echo {trajectory} {self.entered} && sleep {self.random.choice([0, 0.1, 2])}"
        try:
            await self.executor.execute(trajectory, ToolCall(name="bash", arguments={"command": command}))
            self.answered += 1
        except trio.Cancelled:
            self.left += 1
            raise

    async def break_links(self) -> None:
        """Every few seconds a daemon's link goes; the daemon comes back."""
        while trio.current_time() < SECONDS:
            await trio.sleep(self.random.uniform(1, 12))
            links = self.random.choice(self.daemons).links
            if links:
                await links[0].aclose()


def ledger(daemons: list[FakeDaemon]) -> Mapping[tuple[int, str, str], list[int]]:
    """For each slot and trajectory the numbers of its calls, in the order in which they ran."""
    found: defaultdict[tuple[int, str, str], list[int]] = defaultdict(list)
    for number, daemon in enumerate(daemons):
        for slot in daemon.slots.values():
            for command in slot.ran:
                _, trajectory, call, *_ = command.split()
                found[number, slot.name, trajectory].append(int(call))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_everyone_is_answered_and_every_slot_comes_back(
    autojump_clock: trio.testing.MockClock, seed: int
) -> None:
    """Each call is answered or left by its caller, runs once at most and in order; counts are honest."""
    daemons = [FakeDaemon(slots=slots) for slots in (1, 2, 3)]
    backend = MemoryBackend({f"d{number}": daemon for number, daemon in enumerate(daemons)})
    async with open_executor(backend) as executor:
        world = World(seed, executor, daemons)
        with trio.fail_after(SECONDS + 300):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.break_links)
                for number in range(24):
                    nursery.start_soon(world.use, f"t{number % 10}")
            await trio.sleep(10)
            for number in range(10):
                await executor.release(f"t{number}")
        slots, statistics = executor.statistics().slots, executor.statistics()
        assert (slots.total, slots.free, slots.waiting, slots.lost) == (6, 6, 0, 0)
        assert statistics.in_flight == 0
        assert statistics.total_requests == world.answered
        assert world.entered == world.answered + world.left
    assert [daemon.free for daemon in daemons] == [1, 2, 3]
    assert any(len(calls) > 3 for calls in ledger(daemons).values())
    for calls in ledger(daemons).values():
        assert calls == sorted(set(calls))
