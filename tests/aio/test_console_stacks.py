"""What a person is told of a task: the nurseries above it, and where it waits."""

from __future__ import annotations

import sys

import pytest
import trio
import trio.testing

from hermes_trio.console import stacks
from hermes_trio.console.stacks import MAX_DEPTH, nursery_of, stack_of


async def sleeper(task_status: trio.TaskStatus[trio.lowlevel.Task]) -> None:
    """Waits two calls deep."""
    task_status.started(trio.lowlevel.current_task())
    await inner()


async def inner() -> None:
    """Where it waits."""
    await trio.sleep_forever()


@pytest.mark.parametrize("with_stackscope", [True, False])
async def test_a_stack_leads_to_where_the_task_waits(
    with_stackscope: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the package that shows more, and without it."""
    if not with_stackscope:
        monkeypatch.setitem(sys.modules, "stackscope", None)
    async with trio.open_nursery() as nursery:
        task = await nursery.start(sleeper)
        await trio.testing.wait_all_tasks_blocked()
        text = stack_of(task)
        assert text.startswith(f"task {task.name}\n")
        assert text.index("await inner()") < text.index("await trio.sleep_forever()")
        monkeypatch.setattr(stacks, "MAX_STACK_CHARS", 40)
        assert stack_of(task) == f"{text[:40]}\n… (cut)"
        nursery.cancel_scope.cancel()


async def test_nurseries_are_named_by_who_opened_them() -> None:
    """Outermost first, each once, and no more of them than can be read."""
    told = list[str]()

    async def descend(depth: int) -> None:
        if not depth:
            told.append(nursery_of(trio.lowlevel.current_task()))
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(descend, depth - 1, name=f"level {depth - 1}")

    await descend(3)
    assert told[0].endswith("level 2 › level 1")
    await descend(MAX_DEPTH + 5)
    assert told[1].split(" › ")[0] == f"level {MAX_DEPTH}"
