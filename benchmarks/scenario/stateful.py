"""What the stateful shell adds to the road: `true` in it, against a call that does nothing at all.

One trajectory, the kinds one after another, again and again, so that whatever else the machine does hits all
of them alike. The call that does nothing is of an operation that no daemon has: it goes all the way to where
operations are looked up, and back. `bash`, which starts a shell for each command, is measured beside them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from statistics import median
from typing import TYPE_CHECKING, Literal, cast

import trio
from rich.console import Console

import hermes_trio as ht
from benchmarks.lib.environment import capture_environment
from benchmarks.lib.plots import draw_findings
from benchmarks.lib.report import Report
from benchmarks.scenario.base import BenchOptions, Scenario
from hermes_trio.errors import Provenance
from hermes_trio.executor.executor import Executor
from hermes_trio.fleet.calls import CallRecord
from hermes_trio.telemetry import LogHistogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROUNDS = 5
CALLS = 400
KINDS = ("round_trip", "stateful", "bash")
NAME = "stateful"
PERCENTILES = (10, 50, 95, 99)

_Round = dict[str, LogHistogram]


class Stateful(Scenario):
    """See the module."""

    name = "stateful"
    summary = "`true` in the stateful shell, against the bare round trip of the link"

    async def run(self, options: BenchOptions, console: Console) -> Report:
        """See the base class.

        Cancellation: *shielded, at most 36 s*: the daemon is stopped first.
        """
        environment = capture_environment()
        rounds = options.rounds or (1 if options.smoke else ROUNDS)
        isolation = cast("Literal['auto', 'required', 'none']", options.isolation)
        done: list[_Round] = []
        failed = 0
        async with (
            ht.open_local_backend(slots=1, isolation=isolation) as backend,
            ht.open_executor(backend, tools=ht.registry_of("full")) as executor,
        ):
            works = _works(executor)
            for work in works.values():
                await work()  # the slot and the shell are there
            for number in range(rounds):
                console.print(f"round {number + 1}/{rounds} ...")
                histograms = {kind: LogHistogram() for kind in KINDS}
                failed += await _measure(works, histograms, count=5 if options.smoke else CALLS)
                done.append(histograms)
        return Report(
            scenario=self.name,
            smoke=options.smoke,
            environment=environment,
            parameters={**options.parameters(), "rounds": rounds},
            findings=_findings(done),
            details={kind: _merged(done, kind).to_mapping() for kind in KINDS},
            problems=(f"{failed} calls failed",) if failed else (),
        )

    def draw(self, report: Report, figure: Figure) -> None:
        """The findings as bars."""
        draw_findings(report, figure)


def _works(executor: Executor) -> Mapping[str, Callable[[], Awaitable[bool]]]:
    """One call of each kind; whether it went as it should."""

    async def nothing() -> bool:
        record = CallRecord(operation="nothing", arguments={}, trajectory_id=NAME)
        await executor.operate(record)
        return record.unwrap().provenance is Provenance.UNAVAILABLE

    async def run(tool: str) -> bool:
        return (await executor.execute(NAME, ht.ToolCall(tool, {"command": "true"}))).success

    return {
        "bash": lambda: run("bash"),
        "stateful": lambda: run("bash_stateful"),
        "round_trip": nothing,
    }


async def _measure(
    works: Mapping[str, Callable[[], Awaitable[bool]]], histograms: _Round, *, count: int
) -> int:
    """So many calls of each kind, in turn; how many of them failed."""
    await trio.lowlevel.checkpoint()
    failed = 0
    for _ in range(count):
        for kind, work in works.items():
            began = time.perf_counter()
            failed += not await work()
            histograms[kind].record(time.perf_counter() - began)
    return failed


def _merged(rounds: list[_Round], kind: str) -> LogHistogram:
    merged = LogHistogram()
    for each in rounds:
        merged.merge(each[kind])
    return merged


def _findings(rounds: list[_Round]) -> dict[str, float | None]:
    """Medians over rounds. Promised: at the median at most 1.0 ms above the round trip."""
    figures: dict[str, float | None] = {
        f"{kind}_p{percent}_ms": median(each[kind].percentile(percent) * 1e3 for each in rounds)
        for kind in KINDS
        for percent in PERCENTILES
    }
    return {
        **{f"stateful_minus_round_trip_p{percent}_ms": _above_ms(rounds, percent) for percent in (50, 10)},
        **figures,
    }


def _above_ms(rounds: list[_Round], percent: float) -> float:
    """Where others have the machine too, the tenth percentile is nearer to what the code costs."""
    above = [each["stateful"].percentile(percent) - each["round_trip"].percentile(percent) for each in rounds]
    return median(above) * 1e3


def make_scenario() -> Scenario:
    """For the registry of scenarios."""
    return Stateful()
