"""The ancestor's executor: a queue, a window, and a loop that awaits every batch to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from attrs import define, frozen

from benchmarks.arms.ancestor.client import BatchClient, SlotCall
from benchmarks.lib.load import CallOutcome

_SHORTEST_S, _LONGEST_S = 1.0, 600.0


@frozen(kw_only=True)
class AncestorConfig:
    """Its three knobs that matter here, with its defaults."""

    batch_window_ms: float = 20
    max_batch_size: int = 200
    allow_network: bool = True


@define(kw_only=True, eq=False)
class _Queued:
    trajectory_id: str
    tool: str
    arguments: Mapping[str, Any]
    limit_s: float
    future: asyncio.Future[CallOutcome]


class AncestorExecutor:
    """Made by :func:`open_ancestor_executor`."""

    def __init__(self, client: BatchClient, slots: Sequence[str], config: AncestorConfig) -> None:
        self._client = client
        self._config = config
        self._queue: asyncio.Queue[_Queued] = asyncio.Queue()
        self._slots_lock = asyncio.Lock()
        self._free_slots = list(reversed(slots))
        self._slot_of: dict[str, str] = {}

    async def execute(
        self, trajectory_id: str, tool: str, arguments: Mapping[str, Any], limit_s: float
    ) -> CallOutcome:
        """Queues a call and waits for its result.

        Cancellation: *abandons*: the call still runs. (The ancestor's defect, kept.)
        """
        future: asyncio.Future[CallOutcome] = asyncio.get_running_loop().create_future()
        await self._queue.put(
            _Queued(
                trajectory_id=trajectory_id,
                tool=tool,
                arguments=arguments,
                limit_s=max(_SHORTEST_S, min(limit_s, _LONGEST_S)),
                future=future,
            )
        )
        return await future

    async def run_loop(self) -> None:
        """Collects a batch until its window or its size is reached, runs it, and only then looks again.

        Cancellation: *poisons*.
        """
        while True:
            await self._execute_batch(await self._collect())

    async def _collect(self) -> list[_Queued]:
        batch = [await self._queue.get()]
        deadline = time.perf_counter() + self._config.batch_window_ms / 1000
        while len(batch) < self._config.max_batch_size:
            left = max(0.0, deadline - time.perf_counter())
            try:
                batch.append(await asyncio.wait_for(self._queue.get(), timeout=left))
            except TimeoutError:
                break
        return batch

    async def _execute_batch(self, batch: Sequence[_Queued]) -> None:
        trajectories = list({item.trajectory_id for item in batch})
        try:
            slots = await asyncio.gather(*[self._slot_for(one) for one in trajectories])
        except IndexError:
            _answer_all(batch, CallOutcome(ok=False, reason="Failed to acquire slot"))
            return
        slot_of = dict(zip(trajectories, slots, strict=True))
        groups: dict[float, list[_Queued]] = {}
        for item in batch:
            groups.setdefault(item.limit_s, []).append(item)
        for limit_s, items in groups.items():
            await self._execute_group(items, slot_of, limit_s)

    async def _slot_for(self, trajectory_id: str) -> str:
        async with self._slots_lock:
            slot = self._slot_of.get(trajectory_id)
            if slot is None:
                slot = self._slot_of[trajectory_id] = self._free_slots.pop()
            return slot

    async def _execute_group(
        self, items: Sequence[_Queued], slot_of: Mapping[str, str], limit_s: float
    ) -> None:
        calls = [
            SlotCall(slot_id=slot_of[item.trajectory_id], tool=item.tool, arguments=self._arguments(item))
            for item in items
        ]
        results = await self._client.execute_batch(calls, limit_s=limit_s)
        for item, result in zip(items, results, strict=True):
            _answer(item, _judge(result))

    def _arguments(self, item: _Queued) -> Mapping[str, Any]:
        """Network policy is the executor's, never the model's."""
        if item.tool == "bash":
            return {**item.arguments, "allow_network": self._config.allow_network}
        return item.arguments


def _judge(result: Mapping[str, Any]) -> CallOutcome:
    ok = result.get("success") is True
    return CallOutcome(ok=ok, reason="" if ok else str(result.get("error", "no error given")))


def _answer(item: _Queued, outcome: CallOutcome) -> None:
    if not item.future.done():
        item.future.set_result(outcome)


def _answer_all(items: Sequence[_Queued], outcome: CallOutcome) -> None:
    for item in items:
        _answer(item, outcome)


@asynccontextmanager
async def open_ancestor_executor(
    client: BatchClient, slots: Sequence[str], config: AncestorConfig
) -> AsyncIterator[AncestorExecutor]:
    """An executor whose loop runs for as long as the block lasts.

    Cancellation: *abandons* the batch under way.
    """
    executor = AncestorExecutor(client, slots, config)
    loop_task = asyncio.create_task(executor.run_loop())
    try:
        yield executor
    finally:
        loop_task.cancel()
        with suppress(asyncio.CancelledError):
            await loop_task
