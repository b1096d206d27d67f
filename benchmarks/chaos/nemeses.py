"""Kill the agents of slots, and fill the disk below them, under load: typed, nothing twice, every slot back.

A slot whose agent is killed keeps its workspace, and its ledger with it: the call under way is lost, the next
one runs. On a full disk commands fail as commands do; whatever else needs room waits, or says so.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
from attrs import define

import hermes_trio as ht
from benchmarks.chaos.kills import daemon_pids
from benchmarks.chaos.links import LedgerLoad
from benchmarks.chaos.readers import health
from benchmarks.chaos.stage import QUICK, FigureSet, endings
from hermes_trio.backends.base import Backend
from hermes_trio.testing.history import violations

BACK_WITHIN_S = 10.0
"""How long after the torment all slots are free again; waited for, not measured."""

DISK_MIB = 64
SHARED_DISK = ("--slot-disk", "0")
"""Workspaces as folders of the disk that is filled, so that commands meet it."""
NO_ROOM = 77
"""Exit code of a command that found no room for its line in the ledger."""


async def agents(*, kills: int, trajectories: int, seed: int = 1, pause_s: float = 0.2) -> FigureSet:
    """SIGKILL to the first process of a slot, so many times, one after another."""
    dice, killed = random.Random(seed), 0
    async with ht.open_local_backend(slots=trajectories, isolation="auto") as backend:
        async with ht.open_executor(backend, config=QUICK) as executor:
            load = LedgerLoad(executor, frozenset({ht.Provenance.SANDBOX_LOST}))
            async with trio.open_nursery() as nursery:
                for number in range(trajectories):
                    nursery.start_soon(load.live, f"t{number}")
                for _ in range(kills):
                    await trio.sleep(dice.uniform(0, pause_s))
                    killed += _kill_agent(dice)
                load.stopped = True
        back = await _all_back(backend, trajectories)
    figures = {"kills": killed, "calls": len(load.history.asked), "endings": endings(load.history)}
    wrong = (f"ended otherwise than by the kill: {text}" for text in load.wrong_exit_codes)
    return FigureSet("agents", figures, problems=(*violations(load.history), *wrong, *back))


def agent_pids() -> Iterator[int]:
    """The first process of each slot; where slots have no namespace, the daemon's children."""
    for daemon in daemon_pids():
        for pid in _descendants(daemon):
            if _is_first(pid):
                yield pid


def _descendants(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield child
        yield from _descendants(child)


def _children(pid: int) -> list[int]:
    """Of all its threads; none of a process that is gone meanwhile."""
    try:
        lists = [listed.read_text() for listed in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [int(child) for children in lists for child in children.split()]


def _is_first(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    inner = status.partition("NSpid:")[2].partition("\n")[0].split()
    return len(inner) > 1 and inner[-1] == "1"


def _kill_agent(dice: random.Random) -> int:
    pids = list(agent_pids())
    if not pids:
        return 0
    try:
        os.kill(dice.choice(pids), signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


async def _all_back(backend: Backend, slots: int) -> tuple[str, ...]:
    """Whether every slot is clean and nobody's once the executor is gone."""
    with trio.move_on_after(BACK_WITHIN_S):
        while (await health(backend))["available"] < slots:  # noqa: ASYNC110 - as an operator would
            await trio.sleep(0.05)
        return ()
    told = await health(backend)
    return (f"{told['available']} of {slots} slots came back, {told['quarantined']} are quarantined",)


# --- a full disk ------------------------------------------------------------------------------------------


@define
class _DiskLoad(LedgerLoad):
    """Each call needs room beside its line in the ledger, and says when there was none."""

    refused: int = 0

    async def call(self, call: str, name: str, code: int) -> None:
        self.history.ask(call, trajectory=name)
        command = (
            f"head -c 300000 /dev/zero > big && echo {call} >> ledger || exit {NO_ROOM}; rm big; exit {code}"
        )
        result = await self.executor.execute(name, ht.ToolCall("bash", {"command": command}))
        no_room = result.metadata.get("exit_code") == NO_ROOM
        self.refused += no_room
        # Said by the command, not by us: for the checker, one that did nothing.
        self.history.end(call, ht.Provenance.DENIED if no_room else result.provenance)
        if not no_room and result.metadata.get("exit_code") != code:
            self.wrong_exit_codes.append(f"{call}: {result.provenance} {result.error[:200]}")

    async def come_and_go(self, name: str) -> None:
        """A trajectory that lives for one call, again and again: its slot is made anew each time."""
        await trio.lowlevel.checkpoint()
        number = 0
        while not self.stopped:
            result = await self.executor.execute(
                f"{name}/{number}", ht.ToolCall("bash", {"command": "ls -A"})
            )
            if result.success and result.output:
                self.wrong_exit_codes.append(f"{name}/{number}: found {result.output[:200]!r}")
            await self.executor.release(f"{name}/{number}")
            number += 1


async def disk(*, fills: int, trajectories: int, seed: int = 1) -> FigureSet:
    """Fill the disk that the workspaces lie on, and make room again, so many times."""
    await trio.lowlevel.checkpoint()
    with _small_disk() as place:
        if place is None:
            return FigureSet("disk", {"skipped": "no file system can be mounted here"})
        slots = trajectories + 2
        async with ht.open_local_backend(
            slots=slots, isolation="auto", data_dir=place, daemon_options=SHARED_DISK
        ) as backend:
            async with ht.open_executor(backend, config=QUICK) as executor:
                load = _DiskLoad(executor)
                async with trio.open_nursery() as nursery:
                    for number in range(trajectories):
                        nursery.start_soon(load.live, f"t{number}")
                    nursery.start_soon(load.come_and_go, "short")
                    await _fill_and_free(place, fills, random.Random(seed))
                    load.stopped = True
            back = await _all_back(backend, slots)
    figures = {
        "fills": fills,
        "calls": len(load.history.asked),
        "without_room": load.refused,
        "endings": endings(load.history),
    }
    problems = (*violations(load.history), *load.wrong_exit_codes, *back)
    if not load.refused:
        problems = (*problems, "no call ever found the disk full: nothing was tried")
    return FigureSet("disk", figures, problems=problems)


async def _fill_and_free(place: Path, fills: int, dice: random.Random) -> None:
    for _ in range(fills):
        await trio.sleep(dice.uniform(0.3, 0.6))
        # Again and again: what others give back meanwhile is taken too.
        for _ in range(dice.randrange(20, 40)):
            await trio.to_thread.run_sync(_fill, place / "filler")
            await trio.sleep(0.025)
        (place / "filler").unlink()
    await trio.sleep(0.5)  # calls that have room again are part of the history


def _fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError:
            pass


@contextmanager
def _small_disk() -> Iterator[Path | None]:
    with tempfile.TemporaryDirectory(prefix="chaos-disk-", dir="/var/tmp") as folder:
        options = f"size={DISK_MIB}m,mode=755"
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True)
        try:
            yield Path(folder) if mounted.returncode == 0 else None
        finally:
            if mounted.returncode == 0:
                subprocess.run(["umount", "-l", folder], check=True)
