"""The recordings of agents' own terminals, as the console lists and hands them out: real slots."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from hermes_trio.backends.local import open_local_backend
from hermes_trio.console.commands import Order, answer
from hermes_trio.console.hub import ConsoleHub, open_console_hub
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.tools.calls import ToolCall
from hermes_trio.tools.registry import registry_of

pytestmark = pytest.mark.slow


@asynccontextmanager
async def _console() -> AsyncIterator[tuple[Executor, ConsoleHub]]:
    async with (
        open_local_backend(slots=2) as backend,
        open_executor(backend, tools=registry_of("full")) as executor,
        open_console_hub(executor) as hub,
    ):
        yield executor, hub


async def _ask(hub: ConsoleHub, name: str, **arguments: Any) -> Any:
    told = await answer(Order(hub, "test", name, arguments))
    assert told["ok"], told
    return told["value"]


async def _tmux(executor: Executor, trajectory: str, **arguments: Any) -> None:
    result = await executor.execute(trajectory, ToolCall(name="tmux", arguments=arguments))
    assert result.success, result


def _played(cast: str) -> str:
    header, *lines = (json.loads(line) for line in cast.splitlines())
    assert header["version"] == 2
    return "".join(line[2] for line in lines if line[1] == "o")


async def test_an_agents_terminal_is_listed_and_played_also_when_it_is_over() -> None:
    """From its first byte on, although nobody watched then; and after its slot was given back."""
    async with _console() as (executor, hub):
        assert await _ask(hub, "recordings") == []
        await _tmux(executor, "agent", action="start")
        keys = ["echo early-$((40+2))", "Enter"]
        await _tmux(executor, "agent", action="send_keys", keys=keys, block=True)
        (row,) = await _ask(hub, "recordings")
        assert (row["trajectory"], row["origin"], row["live"]) == ("agent", "main", True)
        assert "early-42" in _played(await _ask(hub, "recording", id=row["id"]))
        with hub.watched():
            keys = ["echo late-$((40+3))", "Enter"]
            await _tmux(executor, "agent", action="send_keys", keys=keys, block=True)
            known = hub.recordings.find(row["id"])
            assert known is not None
            with trio.fail_after(20):
                while "late-43" not in known.text():  # noqa: ASYNC110 - the hub looks once a second
                    await trio.sleep(0.05)
            await executor.release("agent")
        (row,) = await _ask(hub, "recordings")
        assert not row["live"]
        assert row["duration_s"] > 0
        assert abs(row["began"] - trio.current_time()) < 120
        assert "late-43" in _played(await _ask(hub, "recording", id=row["id"]))


async def test_a_terminal_that_is_started_again_is_another_recording() -> None:
    """Of the first one what was fetched stays; programs' terminals are listed by their names."""
    async with _console() as (executor, hub):
        await _tmux(executor, "agent", action="start")
        (first,) = await _ask(hub, "recordings")
        await _ask(hub, "recording", id=first["id"])
        await _tmux(executor, "agent", action="stop")
        await _tmux(executor, "agent", action="start")
        build = await executor.open_terminal("agent", argv=["cat"], name="build")
        rows = await _ask(hub, "recordings")
        assert {(row["origin"], row["live"]) for row in rows} == {
            ("main", True),
            ("main", False),
            ("build", True),
        }
        await build.stop()
        assert [each.name for each in executor.live_terminals()] == ["main"]
