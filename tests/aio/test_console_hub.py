"""The hub: follows an executor while somebody watches, and costs nothing otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
import trio
import trio.testing

from hermes_trio.console.commands import Order, answer
from hermes_trio.console.delta import Watcher
from hermes_trio.console.hub import ConsoleHub, open_console_hub
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.calls import ToolCall


def bash(command: str) -> ToolCall:
    """A call of the shell."""
    return ToolCall(name="bash", arguments={"command": command})


@asynccontextmanager
async def _watched(slots: int = 2) -> AsyncIterator[tuple[Executor, ConsoleHub, Watcher]]:
    backend = MemoryBackend({"d": FakeDaemon(slots=slots)})
    async with open_executor(backend) as executor, open_console_hub(executor) as hub:
        with hub.watched() as watcher:
            await hub.wait_fresh()
            yield executor, hub, watcher


async def _until(condition: Callable[[], Any]) -> None:
    """The hub looks twenty times a second."""
    with trio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - of another task's state there is no event
            await trio.sleep(0.01)


async def test_nobody_listens_while_nobody_watches(autojump_clock: trio.testing.MockClock) -> None:
    """The bus is left with the last watcher, and joined again with the next."""
    backend = MemoryBackend({"d": FakeDaemon(slots=2)})
    async with open_executor(backend) as executor, open_console_hub(executor) as hub:
        await trio.sleep(1)
        assert not executor.bus.listening
        for _ in range(2):
            with hub.watched(), hub.watched():
                await hub.wait_fresh()
                assert executor.bus.listening
                assert "1 daemons" in repr(hub)
            await _until(lambda: not executor.bus.listening)


async def test_a_call_is_seen_from_queue_to_end(autojump_clock: trio.testing.MockClock) -> None:
    """With the nursery that it runs under."""
    async with _watched() as (executor, hub, _), trio.open_nursery() as nursery:
        nursery.start_soon(executor.execute, "t", bash("sleep 5"))
        await _until(lambda: hub.state.calls)
        await trio.sleep(1)
        row = hub.state.trajectories.rows["t"]
        assert row.nursery.startswith("pytest_trio.")
        await _until(lambda: not hub.state.calls)
        assert hub.state.detail("t")["calls"][0]["provenance"] == "ok"
        await executor.release("t")
        await _until(lambda: not hub.state.trajectories.rows)


async def test_events_that_were_lost_mean_another_snapshot(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is right again, whatever was missed."""
    async with _watched(slots=4) as (executor, hub, _):
        (events,) = executor.bus._subscriptions
        with monkeypatch.context() as deaf:
            deaf.setattr(events, "put", lambda _: None)
            await executor.execute("a", bash("echo hi"))
        await trio.sleep(1)
        assert not hub.state.trajectories.rows
        await executor.execute("b", bash("echo hi"))
        await trio.sleep(1)
        assert set(hub.state.trajectories.rows) == {"a", "b"}


async def _ask(hub: ConsoleHub, name: str, **arguments: Any) -> dict[str, Any]:
    return await answer(Order(hub, "somebody", name, arguments))


async def test_a_call_is_cancelled_and_its_caller_told(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """By its number; and it is written down who did it."""
    results = []
    async with _watched() as (executor, hub, watcher), trio.open_nursery() as nursery:

        async def call() -> None:
            results.append(await executor.execute("t", bash("sleep 60")))

        nursery.start_soon(call)
        await _until(lambda: hub.state.calls)
        number = next(iter(hub.state.calls))
        with caplog.at_level("INFO", logger="hermes_trio.audit"):
            assert await _ask(hub, "cancel_call", call=number) == {"ok": True, "value": {"call": number}}
        await _until(lambda: results)
        assert results[0].provenance == "cancelled"
        told = f"who=somebody action=cancel_call target={{\"call\":{number}}} outcome='told to end'"
        assert told in caplog.text
        watcher.look_at(["events"], trajectory=None, feeds=hub.feeds)
        message = orjson.loads(watcher.message(hub.state, hub.feeds, now=0.0, max_bytes=50_000))
        assert any(row[2] == "audit" for row in message["events"])
        assert (await _ask(hub, "cancel_call", call=number))["ok"] is False


async def test_a_trajectory_is_cancelled_with_all_its_calls(autojump_clock: trio.testing.MockClock) -> None:
    """And its slot is given back."""
    results = []
    async with _watched() as (executor, hub, _), trio.open_nursery() as nursery:

        async def call(command: str) -> None:
            results.append(await executor.execute("t", bash(command)))

        for command in ("sleep 60", "sleep 61"):
            nursery.start_soon(call, command)
        await _until(lambda: len(hub.state.calls) == 2)
        assert (await _ask(hub, "cancel_trajectory", trajectory="t"))["ok"]
        await _until(lambda: len(results) == 2)
        assert {result.provenance for result in results} == {"cancelled"}
        assert executor.statistics().slots.leased == 0


async def test_a_drained_daemon_gets_nobody_new(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever has a slot there keeps it."""
    async with _watched() as (executor, hub, _):
        await executor.execute("t", bash("echo hi"))
        assert (await _ask(hub, "drain", daemon="d"))["ok"]
        await _until(lambda: hub.state.daemons.rows["d"].state == "draining")
        (connection,) = executor._fleet.connections
        for suspect in (True, False):  # silent for a while, and heard again: that ends no draining
            connection._on_suspect(suspect)
        await trio.sleep(1)
        assert hub.state.daemons.rows["d"].state == "draining"
        assert (await executor.execute("t", bash("echo hi"))).success
        with trio.move_on_after(5) as scope:
            await executor.execute("new", bash("echo hi"))
        assert scope.cancelled_caught


async def test_stacks_are_of_the_tasks_that_wait(autojump_clock: trio.testing.MockClock) -> None:
    """All of a trajectory's, or one call's."""
    async with _watched() as (executor, hub, _), trio.open_nursery() as nursery:
        nursery.start_soon(executor.execute, "t", bash("sleep 5"))
        await _until(lambda: hub.state.calls)
        number = next(iter(hub.state.calls))
        for call in (None, number):
            stack = (await _ask(hub, "stack", trajectory="t", call=call))["value"]
            assert "wait_ended" in stack
        for trajectory, call in (("nobody", None), ("t", number + 9)):
            assert "No task" in (await _ask(hub, "stack", trajectory=trajectory, call=call))["value"]


async def test_frames_are_seen_while_somebody_looks_at_them(autojump_clock: trio.testing.MockClock) -> None:
    """And the links are not tapped before and after."""
    async with _watched() as (executor, hub, watcher):
        await executor.execute("t", bash("echo unseen"))
        assert hub.feeds.wire.last == 0
        watcher.look_at(["wire"], trajectory=None, feeds=hub.feeds)
        await trio.sleep(1)
        await executor.execute("t", bash("echo seen"))
        assert any(row[4] == "call" and "echo seen" in row[7] for row in hub.feeds.wire.since(0, 100))
        watcher.look_at([], trajectory=None, feeds=hub.feeds)
        await trio.sleep(1)
        last = hub.feeds.wire.last
        await executor.execute("t", bash("echo unseen"))
        assert hub.feeds.wire.last == last


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("nonsense", {}, "there is no command 'nonsense'"),
        ("cancel_call", {}, "field 'call'"),
        ("cancel_call", {"call": True}, "field 'call'"),
        ("cancel_call", {"call": 99}, "call 99 is not under way"),
        ("cancel_trajectory", {"trajectory": ""}, "field 'trajectory'"),
        ("cancel_trajectory", {"trajectory": "nobody"}, "is not alive"),
        ("drain", {"daemon": "x"}, "there is no daemon x"),
        ("recording", {"id": "x"}, "no such recording"),
        ("detail", {"trajectory": 3}, "field 'trajectory'"),
    ],
)
async def test_what_cannot_be_done_is_said_in_a_sentence(
    name: str, arguments: dict[str, Any], said: str, autojump_clock: trio.testing.MockClock
) -> None:
    """What comes from a page is not trusted."""
    async with _watched() as (_, hub, _watcher):
        told = await _ask(hub, name, **arguments)
        assert told["ok"] is False
        assert said in told["error"]


async def test_questions_are_answered(autojump_clock: trio.testing.MockClock) -> None:
    """Snapshots, details, recordings."""
    async with _watched() as (executor, hub, _):
        await executor.execute("t", bash("echo hi"))
        await trio.sleep(1)
        assert (await _ask(hub, "snapshot"))["value"]["trajectories"][0][0] == "t"
        assert (await _ask(hub, "detail", trajectory="t"))["value"]["found"]
        hub.recordings.begin("t", columns=80, rows=24, now=0.0)
        (row,) = (await _ask(hub, "recordings"))["value"]
        assert (await _ask(hub, "recording", id=row["id"]))["value"].startswith('{"version":2')
