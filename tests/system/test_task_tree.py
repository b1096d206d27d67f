"""No task outlives the executor that it serves, whichever way it is left."""

from __future__ import annotations

import pytest
import trio

import hermes_trio as ht
from hermes_trio.executor import executor as executor_module

from .conftest import tasks_below

SLEEP = ht.ToolCall("bash", {"command": "sleep 50"})


class _LeftError(Exception):
    """How a body can be left."""


async def _leave(executor: ht.Executor, way: str) -> None:
    async with executor.stream("s", ht.ToolCall("bash", {"command": "yes"})) as stream:
        await anext(stream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(executor.execute, "t", SLEEP)
            await trio.sleep(0.2)
            if way == "error":
                raise _LeftError
            nursery.cancel_scope.cancel()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["end", "cancel", "error"])
async def test_leaving_leaves_no_task(way: str) -> None:
    """With a call under way and a stream half read; the walk sees the tasks while they are there."""
    me = trio.lowlevel.current_task()
    async with ht.open_local_backend(slots=2, isolation="auto") as backend:
        before = tasks_below(me)
        with trio.CancelScope() as scope:
            try:
                async with executor_module.open_executor(backend) as executor:
                    assert any(task.name.startswith("hermes_trio.fleet") for task in tasks_below(me))
                    if way == "cancel":
                        scope.cancel()
                    await _leave(executor, way)
            except* _LeftError:
                pass
        assert tasks_below(me) == before
