"""Agent loops against a model server, as a child process: one order in, one outcome out.

A process of its own, so that its processor time and its memory are those of the loops and their client.
Memory is taken while every loop is alive and waits in the same tool call, half-way through its turns.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any

import httpx
import orjson
import trio
from attrs import define, field, frozen

from benchmarks.lib.converter import from_line, to_line
from benchmarks.lib.processes import own_bytes
from hermes_trio.agents.loop import AgentLoop
from hermes_trio.agents.result import Ending
from hermes_trio.models.chat import ChatClient
from hermes_trio.models.completion import read_completion
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.schema import ToolSchema

NOOP = ToolSchema(
    name="noop", description="Does nothing.", parameters={"text": {"type": "string"}}, required=("text",)
)


class Client(StrEnum):
    """Who asks the model server."""

    OURS = "chat_client"
    HTTPX = "httpx"
    """One plain ``httpx.AsyncClient``: 100 connections, and a queue in front of them."""
    HTTPX_UNLIMITED = "httpx_unlimited"
    """One that may have as many connections as there are loops, and keeps them."""


@frozen(kw_only=True)
class LoopsOrder:
    """What to run.

    Attributes:
        turns: most of each loop; the server wants ten.
        meet_at: number of the tool call in which all loops wait for each other, to measure memory; 0: none.
    """

    url: str
    client: Client
    loops: int
    turns: int = 30
    meet_at: int = 0


@frozen(kw_only=True)
class LoopsOutcome:
    """What came of it."""

    turns: int
    wall_s: float
    cpu_s: float
    failures: tuple[str, ...]
    memory_bytes: int = 0
    """Allocated by all loops and their client while all wait, transcripts included."""
    transcript_bytes: int = 0
    """Of it, in the messages: every object of them, counted once."""


class _PlainModel:
    """What people write: one client for everything."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self._url = f"{url}/chat/completions"
        self._http = http

    async def complete(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        """One completion.

        Cancellation: *abandons*.
        """
        body = {"messages": messages, **{name: value for name, value in options.items() if value is not None}}
        headers = {"Content-Type": "application/json"}
        response = await self._http.post(self._url, content=orjson.dumps(body), headers=headers)
        response.raise_for_status()
        return read_completion(orjson.loads(response.content))


@asynccontextmanager
async def _open_model(order: LoopsOrder) -> AsyncIterator[Any]:
    if order.client is Client.OURS:
        async with ChatClient(order.url) as client:
            yield client
        return
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)  # httpx's own defaults
    if order.client is Client.HTTPX_UNLIMITED:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=None, trust_env=False, limits=limits) as http:
        yield _PlainModel(order.url, http)


@define(eq=False)
class _NoopExecutor:
    """Answers at once; in one call, waits until every loop is in it."""

    loops: int
    meet_at: int
    made: dict[str, int] = field(factory=dict)
    waiting: int = 0
    all_here: trio.Event = field(factory=trio.Event)
    measured: trio.Event = field(factory=trio.Event)

    async def execute(
        self, trajectory_id: str, call: ToolCall, *, limit_s: float | None = None
    ) -> ToolResult:
        """Nothing.

        Cancellation: *abandons*.
        """
        await trio.lowlevel.checkpoint()
        number = self.made[trajectory_id] = self.made.get(trajectory_id, 0) + 1
        if number == self.meet_at:
            self.waiting += 1
            if self.waiting == self.loops:
                self.all_here.set()
            await self.measured.wait()
        return ToolResult(True, "ok", uniq_id=call.uniq_id)


@define(eq=False)
class _Runner:
    order: LoopsOrder
    transcripts: list[list[dict[str, Any]]] = field(factory=list)
    turns: int = 0
    failures: list[str] = field(factory=list)
    memory_bytes: int = 0
    transcript_bytes: int = 0

    async def run(self, model: Any) -> None:
        """All loops at once."""
        executor = _NoopExecutor(self.order.loops, self.order.meet_at)
        loop = AgentLoop(model, [NOOP], executor, max_turns=self.order.turns)
        gc.collect()
        before = own_bytes(os.getpid())
        async with trio.open_nursery() as nursery:
            for number in range(self.order.loops):
                nursery.start_soon(self._one, loop, f"loop-{number}")
            if self.order.meet_at:
                await executor.all_here.wait()
                gc.collect()
                self.memory_bytes = own_bytes(os.getpid()) - before
                self.transcript_bytes = _deep_bytes(self.transcripts, set())
                executor.measured.set()

    async def _one(self, loop: AgentLoop, name: str) -> None:
        messages = [{"role": "user", "content": f"Do nothing nine times. You are {name}."}]
        self.transcripts.append(messages)
        result = await loop.run(messages, trajectory_id=name)
        self.turns += result.turns_used
        if result.ending not in (Ending.FINISHED, Ending.TURN_LIMIT):
            self.failures.append(f"{name}: {result.ending}: {result.error}"[:300])


def _deep_bytes(thing: Any, seen: set[int]) -> int:
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    inside = [*thing.keys(), *thing.values()] if isinstance(thing, dict) else thing
    below = inside if isinstance(inside, list | tuple) else ()
    return sys.getsizeof(thing) + sum(_deep_bytes(each, seen) for each in below)


async def run_order(order: LoopsOrder) -> LoopsOutcome:
    """Run the loops of an order; the first one, alone, warms up.

    Cancellation: *abandons*.
    """
    async with _open_model(order) as model:
        await _Runner(LoopsOrder(url=order.url, client=order.client, loops=1)).run(model)
        runner = _Runner(order)
        started_s, cpu_s = time.perf_counter(), time.process_time()
        await runner.run(model)
        wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    return LoopsOutcome(
        turns=runner.turns,
        wall_s=wall_s,
        cpu_s=cpu_s,
        failures=tuple(runner.failures),
        memory_bytes=runner.memory_bytes,
        transcript_bytes=runner.transcript_bytes,
    )


def main() -> None:
    """One order from standard input, one outcome to standard output."""
    order = from_line(sys.stdin.buffer.readline(), LoopsOrder)
    sys.stdout.buffer.write(to_line(trio.run(run_order, order)))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
