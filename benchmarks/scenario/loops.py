"""A thousand agent loops of ten turns against an instant model server and a tool that does nothing.

Not about sandboxes: what does a turn cost the process that runs the loops, with our chat client and with one
plain ``httpx.AsyncClient``, and how much memory does a loop that is alive hold beyond its transcript?
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from rich.console import Console

from benchmarks.lib.children import open_child
from benchmarks.lib.converter import from_line, to_line, to_mapping
from benchmarks.lib.environment import capture_environment
from benchmarks.lib.instant_model import TURNS
from benchmarks.lib.loops import Client, LoopsOrder, LoopsOutcome
from benchmarks.lib.report import Report
from benchmarks.scenario.base import BenchOptions, Scenario, open_progress

LOOPS = 1000
SMOKE_LOOPS = 20

MAX_LOOP_BYTES = 60 * 1024
"""What a live loop may hold above its transcript."""

THINKING_S = 0.2
THINKING_TURNS = 2
"""With a server that takes its time all requests are under way at once, which is what costs one large pool
its speed: two turns of each loop show it."""

MEMORY = "memory"
"""Our client once more, with every loop halted half-way."""


class Loops(Scenario):
    """See the module."""

    name = "loops"
    summary = "1,000 agent loops of ten turns, instant model server: cost of a turn, memory of a loop"

    async def run(self, options: BenchOptions, console: Console) -> Report:
        """See the base class.

        Cancellation: *shielded, at most 36 s* for each child: they are stopped first.
        """
        loops = (options.trajectories or (SMOKE_LOOPS if options.smoke else LOOPS,))[0]
        environment = capture_environment()
        outcomes = await _measured(loops, console)
        return Report(
            scenario=self.name,
            smoke=options.smoke,
            environment=environment,
            parameters={**options.parameters(), "loops": loops, "turns": TURNS},
            findings=_findings(outcomes, loops),
            details={name: _details(outcome) for name, outcome in outcomes.items()},
            problems=_problems(outcomes, loops, smoke=options.smoke),
        )


async def _measured(loops: int, console: Console) -> dict[str, LoopsOutcome]:
    """Each client in a process of its own, one after another, against the same servers."""
    outcomes: dict[str, LoopsOutcome] = {}
    with open_progress(console) as progress:
        task = progress.add_task("starting", total=len(Client) + 3)
        async with _open_server() as instant, _open_server(str(THINKING_S)) as thinking:
            for name, order in _orders(instant, thinking, loops).items():
                progress.update(task, description=name)
                outcomes[name] = await _outcome(order)
                progress.advance(task)
    return outcomes


def _orders(instant: str, thinking: str, loops: int) -> dict[str, LoopsOrder]:
    orders = {str(client): LoopsOrder(url=instant, client=client, loops=loops) for client in Client}
    orders[MEMORY] = LoopsOrder(url=instant, client=Client.OURS, loops=loops, meet_at=TURNS // 2)
    for client in (Client.OURS, Client.HTTPX_UNLIMITED):
        order = LoopsOrder(url=thinking, client=client, loops=loops, turns=THINKING_TURNS)
        orders[f"{client}_thinking"] = order
    return orders


@asynccontextmanager
async def _open_server(*arguments: str) -> AsyncIterator[str]:
    async with open_child("benchmarks.lib.instant_model", arguments) as server:
        yield (await server.read_line()).decode()


async def _outcome(order: LoopsOrder) -> LoopsOutcome:
    async with open_child("benchmarks.lib.loops") as child:
        await child.write_line(to_line(order))
        return from_line(await child.read_line(), LoopsOutcome)


def _details(outcome: LoopsOutcome) -> Mapping[str, object]:
    return {**to_mapping(outcome), "failures": list(outcome.failures[:3]), "failed": len(outcome.failures)}


def _cpu_us(outcome: LoopsOutcome) -> float:
    return round(outcome.cpu_s / max(1, outcome.turns) * 1e6, 1)


def _loop_bytes(outcome: LoopsOutcome, loops: int) -> float:
    return round((outcome.memory_bytes - outcome.transcript_bytes) / loops, 1)


def _findings(outcomes: Mapping[str, LoopsOutcome], loops: int) -> dict[str, float | None]:
    findings: dict[str, float | None] = {}
    for name, outcome in outcomes.items():
        if name != MEMORY:
            findings[f"{name}_turns_per_s"] = round(outcome.turns / outcome.wall_s, 1)
            findings[f"{name}_cpu_us_per_turn"] = _cpu_us(outcome)
    for other in (Client.HTTPX, Client.HTTPX_UNLIMITED, f"{Client.HTTPX_UNLIMITED}_thinking"):
        ours = outcomes[Client.OURS if "thinking" not in other else f"{Client.OURS}_thinking"]
        findings[f"{other}_to_ours_cpu_per_turn"] = round(_cpu_us(outcomes[other]) / _cpu_us(ours), 2)
    return findings | {"loop_bytes_above_transcript": _loop_bytes(outcomes[MEMORY], loops)}


def _problems(outcomes: Mapping[str, LoopsOutcome], loops: int, *, smoke: bool) -> tuple[str, ...]:
    problems = []
    for name, outcome in outcomes.items():
        wanted = loops * (THINKING_TURNS if "thinking" in name else TURNS)
        if outcome.failures or outcome.turns != wanted:
            first = next(iter(outcome.failures), "none failed")
            problems.append(f"{name}: {outcome.turns} turns of {wanted}; {first}")
    held = _loop_bytes(outcomes[MEMORY], loops)
    if held > MAX_LOOP_BYTES and not smoke:
        problems.append(
            f"a live loop holds {held:.0f} bytes above its transcript, more than {MAX_LOOP_BYTES}"
        )
    return tuple(problems)


def make_scenario() -> Scenario:
    """For the registry of scenarios."""
    return Loops()
