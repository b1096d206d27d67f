"""Several executors on one real daemon: fair waiting under load, and what becomes of one that vanishes."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

import hermes_trio as ht
from hermes_trio.backends.base import Backend

pytestmark = pytest.mark.slow

SLOTS = 2
GREEDY = 24
LATE = 3


@asynccontextmanager
async def one_daemon(*options: str) -> AsyncIterator[Backend]:
    """Of two slots."""
    async with ht.open_local_backend(slots=SLOTS, isolation="none", daemon_options=options) as backend:
        yield backend


async def test_one_that_asks_for_everything_does_not_keep_the_other_waiting() -> None:
    """Owners take turns: who comes late with little is done long before who came early with much."""
    order: list[str] = []
    under_way = trio.Event()

    async def live(executor: ht.Executor, name: str) -> None:
        result = await executor.execute(name, ht.ToolCall("bash", {"command": f"echo {name}; ls -A"}))
        assert result.output == name, result.error
        order.append(name)
        if len(order) == 2 * SLOTS:
            under_way.set()
        await executor.release(name)

    async with (
        one_daemon() as backend,
        ht.open_executor(backend) as greedy,
        ht.open_executor(backend) as late,
    ):
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(GREEDY):
                    nursery.start_soon(live, greedy, f"greedy-{number}")
                await under_way.wait()
                for number in range(LATE):
                    nursery.start_soon(live, late, f"late-{number}")
    assert len(order) == GREEDY + LATE
    last_late = max(order.index(f"late-{number}") for number in range(LATE))
    assert last_late < GREEDY - SLOTS, order


async def test_slots_of_one_that_vanishes_go_to_the_other_when_its_lease_ends() -> None:
    """The grace is the daemon's, and the local backend passes it on."""
    options = ("--lease-grace-s", "0.5", "--heartbeat-s", "0.2", "--dead-after-s", "1")
    call = ht.ToolCall("bash", {"command": "ls -A"})
    async with one_daemon(*options) as backend, ht.open_executor(backend) as other:
        await _vanish(backend)
        with trio.fail_after(10):
            for number in range(SLOTS):
                result = await other.execute(f"other-{number}", call)
                assert (result.success, result.output) == (True, "")


async def _vanish(backend: Backend) -> None:
    """An executor that takes every slot, and whose process then dies."""
    [endpoint] = backend.board.snapshot.endpoints
    program = f"""
import os, trio, hermes_trio as ht
async def main():
    async with ht.open_static_backend([{endpoint.url!r}], token=os.environ["TOKEN"]) as backend:
        async with ht.open_executor(backend) as executor:
            for number in range({SLOTS}):
                call = ht.ToolCall("bash", {{"command": "echo left > behind"}})
                assert (await executor.execute(f"gone-{{number}}", call)).success
            os._exit(9)
trio.run(main)
"""

    environment = os.environ | {"TOKEN": endpoint.token or ""}
    done = await trio.run_process([sys.executable, "-c", program], env=environment, check=False)
    assert done.returncode == 9
