"""A thousand cancels at random moments, against real processes: no survivor, every slot back."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import trio

import hermes_trio as ht
from hermes_trio.executor.executor import Executor

SLOTS = 8
CANCELS = 1000
MARK = "86399"  # seconds that nothing else on this machine sleeps

STUBBORN = (
    f"sleep {MARK}",
    f"setsid sleep {MARK} & sleep {MARK}",
    f"trap '' TERM INT HUP; sleep {MARK}",
    f"(sleep {MARK} &) ; sleep {MARK}",
    f"kill -STOP $$; sleep {MARK}",
)


def survivors() -> list[int]:
    """Processes of ours that still sleep."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it ended while we looked
            if words[:2] == [b"sleep", MARK.encode()]:
                found.append(int(entry.name))
    return found


async def cancel_some(executor: Executor, name: str, dice: random.Random) -> None:
    """One trajectory that changes its mind again and again."""
    for _ in range(CANCELS // (2 * SLOTS)):
        with trio.move_on_after(dice.uniform(0, 0.05)):
            command = dice.choice(STUBBORN)
            await executor.execute(name, ht.ToolCall("bash", {"command": command}), limit_s=600)
        if dice.random() < 0.1:
            await executor.release(name)
    await executor.release(name)


@pytest.mark.slow
async def test_a_thousand_cancels_leave_nothing() -> None:
    """Twice as many trajectories as slots, so that waiting for a slot is cancelled too."""
    async with (
        ht.open_local_backend(slots=SLOTS, isolation="auto") as backend,
        ht.open_executor(backend, config=ht.ExecutorConfig(allow_network=False)) as executor,
    ):
        async with trio.open_nursery() as nursery:
            for number in range(2 * SLOTS):
                nursery.start_soon(cancel_some, executor, f"t{number}", random.Random(number))
        assert survivors() == []
        slots = executor.statistics().slots
        assert (slots.free, slots.waiting, slots.lost) == (SLOTS, 0, 0)
        for number in range(SLOTS):
            result = await executor.execute(f"after-{number}", ht.ToolCall("bash", {"command": "echo here"}))
            assert result.output == "here"
