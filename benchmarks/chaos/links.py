"""Cut, reset, half-close, duplicate and darken links under load: no result and no effect is lost or doubled.

Each command appends its name to a ledger in its slot and exits with a status of its own. At the end the
ledgers are read and everything is judged by the checker of the simulation kit.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import trio
from attrs import define, field

import hermes_trio as ht
from benchmarks.chaos.stage import QUICK, FigureSet, endings
from hermes_trio.executor.executor import Executor, ExecutorStatistics
from hermes_trio.testing.chaos_proxy import ChaosProxy, ProxiedBackend, open_chaos_proxy
from hermes_trio.testing.history import History, violations

WEIGHTS = {"cut": 5, "reset": 3, "duplicate": 1, "half_close": 1, "darken": 0.1}
"""Of each kind of cut; a dark link takes ``dead_after_s`` to be found."""
AT_BIRTH = 0.1
"""Share of the cuts that strike a link as soon as there is one; the others, links that carry work again.

Were it most of them, the pauses between attempts would grow until the session is given up, as it should be.
"""


@define
class LedgerLoad:
    """Trajectories that write each of their calls into a ledger in their slot.

    Args:
        executor: runs them.
        losses: how a call may end that something was done to; any other ending must have its exit code.
    """

    executor: Executor
    losses: frozenset[ht.Provenance] = frozenset()
    history: History = field(factory=History)
    wrong_exit_codes: list[str] = field(factory=list)
    stopped: bool = False
    _answered: trio.Event = field(factory=trio.Event)

    async def live(self, name: str) -> None:
        """Calls, one after another, until told to stop; then the ledger is read."""
        number = 0
        while not self.stopped:
            await self.call(f"{name}/{number}", name, number % 7)
            number += 1
        ledger = await self._ledger(name)
        while ledger is None:
            ledger = await self._ledger(name)
        for line in ledger.decode().split():
            self.history.effect(line)

    async def _ledger(self, name: str) -> bytes | None:
        """All of it; ``None``: the last of the torment met the reader, which says nothing of the ledger."""
        async with self.executor.stream(name, ht.ToolCall("bash", {"command": "cat ledger"})) as stream:
            items = [item async for item in stream]
        if any(isinstance(item, ht.ToolResult) and item.provenance in self.losses for item in items):
            return None
        return b"".join(item.data for item in items if isinstance(item, ht.OutputChunk))

    async def call(self, call: str, name: str, code: int) -> None:
        """One call, whose effect is its name in the ledger."""
        self.history.ask(call, trajectory=name)
        command = f"echo {call} >> ledger; exit {code}"
        result = await self.executor.execute(name, ht.ToolCall("bash", {"command": command}))
        self.history.end(call, result.provenance, result.metadata.get("outcome", ""))
        self._answered.set()
        if result.metadata.get("exit_code") != code and result.provenance not in self.losses:
            self.wrong_exit_codes.append(f"{call}: {result.provenance} {result.error[:200]}")

    async def wait_answered(self) -> None:
        """Until another call has ended. Cancellation: atomic."""
        self._answered = trio.Event()
        await self._answered.wait()


async def run(*, cuts: int, trajectories: int, seed: int = 1, pause_s: float = 0.1) -> FigureSet:
    """Torment links so many times under so many trajectories of load."""
    dice, done = random.Random(seed), Counter[str]()
    async with (
        ht.open_local_backend(slots=trajectories, isolation="auto") as backend,
        open_chaos_proxy() as proxy,
        ht.open_executor(ProxiedBackend(backend, proxy), config=QUICK) as executor,
    ):
        load = LedgerLoad(executor)
        async with trio.open_nursery() as nursery:
            for number in range(trajectories):
                nursery.start_soon(load.live, f"t{number}")
            for _ in range(cuts):
                if dice.random() > AT_BIRTH:
                    await load.wait_answered()
                    await trio.sleep(dice.uniform(0.0, pause_s))
                [kind] = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))
                await _torment(proxy, kind)
                done[kind] += 1
            load.stopped = True
        statistics = executor.statistics()
    return FigureSet("links", _figures(load, done, statistics), problems=_problems(load))


async def _connected(proxy: ChaosProxy) -> None:
    await trio.lowlevel.checkpoint()
    while not proxy.connections:  # noqa: ASYNC110 - the executor is about to dial; sockets send no events
        await trio.sleep(0.01)


async def _torment(proxy: ChaosProxy, kind: str) -> None:
    await _connected(proxy)
    match kind:
        case "duplicate":
            proxy.duplicate()
        case "half_close":
            proxy.half_close()
        case "darken":
            proxy.darken()
            await trio.sleep(QUICK.dead_after_s)
        case _:
            proxy.cut(reset=kind == "reset")


def _figures(load: LedgerLoad, done: Mapping[str, int], statistics: ExecutorStatistics) -> dict[str, Any]:
    return {
        "cuts": dict(done),
        "calls": len(load.history.asked),
        "endings": endings(load.history),
        "reconnects": statistics.reconnects,
        "sessions_lost": statistics.sessions_lost,
        "latency_p99_s": round(statistics.latency.percentile(99), 3),
    }


def _problems(load: LedgerLoad) -> tuple[str, ...]:
    return (*violations(load.history), *(f"exit code lost: {text}" for text in load.wrong_exit_codes))
