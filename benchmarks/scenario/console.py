"""A thousand trajectories alive, and somebody watches: what does it cost the executor, the link, the page?

Rounds with and without a watcher alternate, over one executor and the same trajectories. The watcher is a
process of its own that reads what the page would read, the tree, and counts its bytes. At last a real browser
shows the tree, where there is one, and tells the longest time for which its main thread was busy.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from attrs import define, field
from rich.console import Console
from starlette.applications import Starlette

from benchmarks.lib.children import CHECKOUT, child_environment
from benchmarks.lib.environment import capture_environment
from benchmarks.lib.plots import draw_findings
from benchmarks.lib.report import Report
from benchmarks.scenario.base import BenchOptions, Scenario
from hermes_trio.backends.local import open_local_backend
from hermes_trio.console.hub import open_console_hub
from hermes_trio.console.routes import console_routes
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.link.asgi import serve_asgi
from hermes_trio.link.background import open_background_nursery
from hermes_trio.tools.calls import ToolCall

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAJECTORIES = 1000
SLOTS = 64
CALLS = 8
"""Of a trajectory, before another takes its slot."""
ROUNDS = 6
DRIVER = CHECKOUT / "hermes_trio" / "console" / "web" / "browser" / "measure.mjs"


@define
class _Tally:
    calls: int = 0
    failed: int = 0
    rates: dict[bool, list[float]] = field(factory=lambda: {False: [], True: []})
    cpu_ms: dict[bool, list[float]] = field(factory=lambda: {False: [], True: []})
    """Of this process, for each call: what a busy machine does not hide."""
    watched: list[dict[str, float]] = field(factory=list)
    page: dict[str, float] | None = None


class ConsoleCost(Scenario):
    """See the module."""

    name = "console"
    summary = (
        "1,000 trajectories alive and somebody watches: throughput, bytes a second, the page's main thread"
    )

    async def run(self, options: BenchOptions, console: Console) -> Report:
        """See the base class.

        Cancellation: *shielded, at most 36 s*: the daemon is stopped first.
        """
        environment, tally = capture_environment(), _Tally()
        alive = options.trajectories[0] if options.trajectories else (40 if options.smoke else TRAJECTORIES)
        slots = options.slots or (4 if options.smoke else SLOTS)
        rounds = options.rounds or (1 if options.smoke else ROUNDS)
        seconds = options.seconds or (1.0 if options.smoke else 5.0)
        async with _loaded(alive, slots, options, tally) as url:
            await trio.sleep(seconds)
            for number in range(rounds):
                console.print(f"round {number + 1} of {rounds}: {alive} trajectories ...")
                for is_watched in (False, True) if number % 2 else (True, False):
                    await _measure(url, seconds, tally, is_watched)
            if _has_browser():
                console.print("a browser ...")
                tally.page = await _child([*_first(), "node", str(DRIVER), url, str(3 * seconds)])
        return Report(
            scenario=self.name,
            smoke=options.smoke,
            environment=environment,
            parameters={**options.parameters(), "trajectories": [alive], "slots": slots, "rounds": rounds},
            findings=_findings(tally),
            details={
                "rates": {str(key): each for key, each in tally.rates.items()},
                "watched": tally.watched,
            },
            problems=(f"{tally.failed} calls failed",) if tally.failed else (),
            remarks=() if tally.page else ("there is no browser here: the page was not measured",),
        )

    def draw(self, report: Report, figure: Figure) -> None:
        """The findings as bars."""
        draw_findings(report, figure)


def _has_browser() -> bool:
    packages = DRIVER.parent.parent / "node_modules"
    return all(map(shutil.which, ("chromium", "node"))) and packages.is_dir()


def _first() -> list[str]:
    """Somebody's browser is on another machine: here it does not wait for processors that commands have."""
    return ["nice", "-n", "-10"] if os.geteuid() == 0 else []


def _findings(tally: _Tally) -> dict[str, float | None]:
    without, watched = (statistics.median(tally.rates[each]) for each in (False, True))
    page = tally.page or {}
    return {
        "calls_per_s": without,
        "calls_per_s_watched": watched,
        "cost_percent": 100 * (1 - watched / without),
        "executor_cpu_ms_per_call": statistics.median(tally.cpu_ms[False]),
        "executor_cpu_ms_per_call_watched": statistics.median(tally.cpu_ms[True]),
        "watcher_kb_per_s": max(each["bytes_per_s"] for each in tally.watched) / 1000,
        "page_longest_task_ms": page.get("longest_task_ms"),
        "page_longest_task_cpu_ms": page.get("longest_task_cpu_ms"),
        "page_kb_per_s": page["bytes_per_s"] / 1000 if page else None,
        "page_layout_shift": page.get("layout_shift"),
    }


@asynccontextmanager
async def _loaded(alive: int, slots: int, options: BenchOptions, tally: _Tally) -> AsyncIterator[str]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        backend = await enter(open_local_backend(slots=slots, isolation=options.isolation))  # type: ignore[arg-type]
        executor = await enter(open_executor(backend))
        hub = await enter(open_console_hub(executor, name="benchmark"))
        server = await enter(open_background_nursery())
        url: str = await server.start(partial(serve_asgi, Starlette(routes=console_routes(hub, gate=None))))
        load = await enter(trio.open_nursery())
        for number in range(alive):
            load.start_soon(_work, executor, number, tally)
        yield url
        load.cancel_scope.cancel()


async def _work(executor: Executor, number: int, tally: _Tally) -> None:
    call = ToolCall(name="bash", arguments={"command": "echo hi"})
    while True:
        for _ in range(CALLS):
            result = await executor.execute(f"trajectory-{number:04d}", call, limit_s=60.0)
            tally.calls += 1
            tally.failed += not result.success
        await executor.release(f"trajectory-{number:04d}")


async def _measure(url: str, seconds: float, tally: _Tally, is_watched: bool) -> None:
    """One round."""
    async with trio.open_nursery() as nursery:
        if is_watched:
            nursery.start_soon(_watch, url, seconds + 1.0, tally)
            await trio.sleep(1.0)  # the watcher's start is no part of what is measured
        began, before, used = trio.current_time(), tally.calls, time.process_time()
        await trio.sleep(seconds)
        calls, passed = tally.calls - before, trio.current_time() - began
        tally.cpu_ms[is_watched].append(1e3 * (time.process_time() - used) / calls)
        tally.rates[is_watched].append(calls / passed)


async def _watch(url: str, seconds: float, tally: _Tally) -> None:
    command = [sys.executable, "-m", "benchmarks.lib.console_watcher", url, str(seconds)]
    tally.watched.append(await _child(command))


async def _child(command: list[str]) -> dict[str, Any]:
    run = await trio.run_process(
        command, cwd=CHECKOUT, env=child_environment(), capture_stdout=True, stdin=subprocess.DEVNULL
    )
    told: dict[str, Any] = json.loads(run.stdout)
    return told


def make_scenario() -> Scenario:
    """For the registry of scenarios."""
    return ConsoleCost()
