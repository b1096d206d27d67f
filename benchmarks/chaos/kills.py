"""Kill daemons, and stop them, under load: typed losses, and nothing runs a second time.

Slots are lost with their daemons, so the ledger lies outside of them: commands run without isolation here.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import trio
from attrs import define, field

import hermes_trio as ht
from benchmarks.chaos.stage import QUICK, FigureSet, endings
from hermes_trio.backends.restarts import RestartPolicy
from hermes_trio.executor.executor import Executor
from hermes_trio.testing.history import History, violations

PATIENT = RestartPolicy(max_restarts=10_000, first_delay_s=0.05, max_delay_s=0.2)
LOSSES = frozenset({ht.Provenance.SANDBOX_LOST})


@define
class _Load:
    executor: Executor
    ledger: Path
    history: History = field(factory=History)
    answered_s: list[float] = field(factory=list)
    """From a kill to the answer of each call that it ended."""
    killed_at: float = 0.0
    mistyped: list[str] = field(factory=list)
    stopped: bool = False

    async def live(self, name: str, dice: random.Random) -> None:
        await trio.lowlevel.checkpoint()
        number = 0
        while not self.stopped:
            await self._call(f"{name}/{number}", name, dice.uniform(0, 0.3))
            number += 1

    async def _call(self, call: str, name: str, nap_s: float) -> None:
        self.history.ask(call, trajectory=name)
        command = f"echo {call} >> {self.ledger}; sleep {nap_s:.3f}"
        result = await self.executor.execute(name, ht.ToolCall("bash", {"command": command}))
        self.history.end(call, result.provenance, result.metadata.get("outcome", ""))
        if result.success:
            return
        if result.metadata.get("outcome") == "unknown":
            self.answered_s.append(time.monotonic() - self.killed_at)
        if result.provenance not in LOSSES:
            self.mistyped.append(f"{call}: {result.provenance} {result.error[:200]}")
        await self.executor.release(name)


def daemon_pids() -> Iterator[int]:
    """The daemons that this process has started."""
    for listed in Path("/proc/self/task").glob("*/children"):
        for child in listed.read_text().split():
            if b"sandbox_daemon" in Path(f"/proc/{child}/cmdline").read_bytes():
                yield int(child)


async def run(*, kills: int, trajectories: int = 32, daemons: int = 4, seed: int = 1) -> FigureSet:
    """Kill so many daemons, one after another."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Path(folder) / "ledger"
        async with (
            ht.open_local_backend(
                slots=trajectories, daemons=daemons, isolation="none", restarts=PATIENT
            ) as backend,
            ht.open_executor(backend, config=QUICK) as executor,
        ):
            load = _Load(executor, ledger)
            async with trio.open_nursery() as nursery:
                for number in range(trajectories):
                    nursery.start_soon(load.live, f"t{number}", random.Random(dice.random()))
                for _ in range(kills):
                    await trio.sleep(dice.uniform(0.3, 0.8))
                    await _kill_one(load, dice)
                load.stopped = True
            lost = executor.statistics().sessions_lost
        for line in ledger.read_text().split():
            load.history.effect(line)
    late = [seconds for seconds in load.answered_s if seconds > 2.0]
    figures = {
        "kills": kills,
        "calls": len(load.history.asked),
        "endings": endings(load.history),
        "sessions_lost": lost,
        "answered_within_s": round(max(load.answered_s, default=0.0), 3),
        "answered_later_than_2_s": len(late),
    }
    mistyped = tuple(f"typed otherwise than sandbox_lost: {text}" for text in load.mistyped)
    return FigureSet("kills", figures, problems=(*violations(load.history), *mistyped))


async def _kill_one(load: _Load, dice: random.Random) -> None:
    await trio.lowlevel.checkpoint()
    while not (pids := list(daemon_pids())):  # noqa: ASYNC110 - it is about to be started again
        await trio.sleep(0.05)
    victim = dice.choice(pids)
    if dice.random() < 0.2:
        os.kill(victim, signal.SIGSTOP)
        await trio.sleep(dice.uniform(0, 1))
    load.killed_at = time.monotonic()
    os.kill(victim, signal.SIGKILL)
