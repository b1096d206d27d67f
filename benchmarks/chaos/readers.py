"""A reader that fell asleep, and a link that went dark: who notices, and when."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import trio

import hermes_trio as ht
from benchmarks.chaos.kills import daemon_pids
from benchmarks.chaos.stage import QUICK, FigureSet
from hermes_trio.backends.base import Backend
from hermes_trio.executor.executor import Executor
from hermes_trio.telemetry.histogram import LogHistogram
from hermes_trio.testing.chaos_proxy import ProxiedBackend, open_chaos_proxy

MIB = 1024 * 1024


def rss_bytes(pid: int | str) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


async def flood(*, trajectories: int, seconds: float, rounds: int = 3) -> FigureSet:
    """p99 of many ``true`` beside one slot that prints for ever to nobody, against without it."""
    flood_call = ht.ToolCall("bash", {"command": "yes"})
    quiet, beside = LogHistogram(), LogHistogram()
    async with (
        ht.open_local_backend(slots=trajectories + 1, isolation="auto") as backend,
        ht.open_executor(backend, config=QUICK) as executor,
    ):
        await _load(executor, trajectories, 1.0, LogHistogram())
        [daemon] = daemon_pids()
        before = rss_bytes(daemon), rss_bytes("self")
        for _ in range(rounds):
            await _load(executor, trajectories, seconds, quiet)
            async with executor.stream("flood", flood_call, limit_s=600) as stream:
                await anext(stream)
                await _load(executor, trajectories, seconds, beside)
        after = rss_bytes(daemon), rss_bytes("self")
    ratio = beside.snapshot().percentile(99) / quiet.snapshot().percentile(99)
    figures = {
        "p99_without_ms": round(quiet.snapshot().percentile(99) * 1000, 2),
        "p99_beside_ms": round(beside.snapshot().percentile(99) * 1000, 2),
        "ratio": round(ratio, 3),
        "daemon_grew_mib": round((after[0] - before[0]) / MIB, 2),
        "executor_grew_mib": round((after[1] - before[1]) / MIB, 2),
    }
    return FigureSet("flood", figures)


async def _load(executor: Executor, trajectories: int, seconds: float, into: LogHistogram) -> None:
    end = trio.current_time() + seconds

    async def live(name: str) -> None:
        await trio.lowlevel.checkpoint()
        while trio.current_time() < end:
            began = time.perf_counter()
            await executor.execute(name, ht.ToolCall("bash", {"command": "true"}))
            into.record(time.perf_counter() - began)

    async with trio.open_nursery() as nursery:
        for number in range(trajectories):
            nursery.start_soon(live, f"t{number}")


async def half_open(*, rounds: int) -> FigureSet:
    """The link goes dark under a call: how long until its result arrives over another one."""
    took: list[float] = []
    problems: list[str] = []
    async with (
        ht.open_local_backend(slots=1, isolation="auto") as backend,
        open_chaos_proxy() as proxy,
        ht.open_executor(ProxiedBackend(backend, proxy), config=QUICK) as executor,
    ):
        await executor.execute("t", ht.ToolCall("bash", {"command": "true"}))
        for _ in range(rounds):
            proxy.darken()
            began = time.monotonic()
            result = await executor.execute("t", ht.ToolCall("bash", {"command": "echo on"}))
            took.append(time.monotonic() - began)
            if result.output != "on":
                problems.append(f"a call over a dark link ended as {result.provenance}: {result.error}")
        reconnects = executor.statistics().reconnects
    if max(took) > QUICK.dead_after_s + 1:
        problems.append(f"a dark link was noticed after {max(took):.2f} s")
    figures = {
        "rounds": rounds,
        "dead_after_s": QUICK.dead_after_s,
        "longest_s": round(max(took), 2),
        "reconnects": reconnects,
    }
    return FigureSet("half-open", figures, problems=tuple(problems))


async def soak(*, calls: int, trajectories: int = 32) -> FigureSet:
    """Memory, descriptors and tasks of both sides over many calls; the first tenth is warm-up."""
    async with (
        ht.open_local_backend(slots=trajectories, isolation="auto") as backend,
        ht.open_executor(backend, config=QUICK) as executor,
    ):
        [daemon] = daemon_pids()
        await health(backend)  # the asking has a warm-up too: certificates take megabytes
        await _calls(executor, trajectories, calls // 10)
        before = await _levels(daemon, backend)
        await _calls(executor, trajectories, calls - calls // 10)
        after = await _levels(daemon, backend)
        answered = executor.statistics().total_requests
    grew = {name: round(after[name] - before[name], 2) for name in before}
    problems = [f"{name} grew by {grew[name]}" for name, most in _MAY_GROW.items() if grew[name] > most]
    return FigureSet("soak", {"calls": answered, **grew}, problems=tuple(problems))


_MAY_GROW = {"daemon_mib": 5, "executor_mib": 5, "daemon_fds": 0, "executor_fds": 0} | {
    "daemon_tasks": 0,
    "executor_tasks": 0,
}


async def _levels(daemon: int, backend: Backend) -> dict[str, float]:
    # The daemon is asked last: the connection that asks is a descriptor too, on both sides.
    levels = _of_process(daemon, "daemon") | _of_process("self", "executor")
    living = trio.lowlevel.current_statistics().tasks_living
    return levels | {"executor_tasks": living, "daemon_tasks": (await health(backend))["tasks"]}


def _of_process(pid: int | str, name: str) -> dict[str, float]:
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return {f"{name}_mib": rss_bytes(pid) / MIB, f"{name}_fds": descriptors}


async def health(backend: Backend) -> dict[str, Any]:
    """What the daemon says of itself."""
    [endpoint] = backend.board.snapshot.endpoints
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(endpoint.url.replace("ws://", "http://") + "/health")
    told: dict[str, Any] = answer.json()
    return told


async def _calls(executor: Executor, trajectories: int, count: int) -> None:
    async def live(name: str) -> None:
        await trio.lowlevel.checkpoint()
        for _ in range(count // trajectories):
            await executor.execute(name, ht.ToolCall("bash", {"command": "true"}))

    async with trio.open_nursery() as nursery:
        for number in range(trajectories):
            nursery.start_soon(live, f"t{number}")
