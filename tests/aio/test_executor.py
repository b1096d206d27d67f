"""The executor's promises, against a daemon in memory and a clock that jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from hermes_trio.errors import ClosedError, Provenance, UnavailableError
from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.executor.fleet_config import fleet_config
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.functions import python_tool
from hermes_trio.tools.registry import ToolRegistry
from hermes_trio.tools.sandbox_tools import BASH
from hermes_trio.tools.tool import ToolContext
from hermes_trio.tools.wrappers import limited, renamed


def bash(command: str, **arguments: Any) -> ToolCall:
    """A call of the shell."""
    return ToolCall(name="bash", arguments={"command": command, **arguments})


@asynccontextmanager
async def running(
    slots: int = 4, daemons: int = 1, **settings: Any
) -> AsyncIterator[tuple[Executor, list[FakeDaemon]]]:
    """An executor on this many daemons in memory."""
    fakes = [FakeDaemon(slots=slots) for _ in range(daemons)]
    backend = MemoryBackend({f"d{n}": fake for n, fake in enumerate(fakes)})
    async with open_executor(backend, config=ExecutorConfig(**settings)) as executor:
        yield executor, fakes


async def test_a_call_walks_the_whole_road(autojump_clock: trio.testing.MockClock) -> None:
    """Through slot, link and daemon, and back with the caller's id."""
    async with running() as (executor, [daemon]):
        call = bash("echo hi")
        result = await executor.execute("t", call)
        assert (result.success, result.output, result.uniq_id) == (True, "hi", call.uniq_id)
        assert result.provenance is Provenance.OK
        assert executor.statistics().total_requests == 1
    assert daemon.free == 4
    assert not daemon.links


async def test_a_trajectory_keeps_its_slot_and_others_do_not_see_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Affinity: the second call finds the first one's files; another trajectory does not."""
    async with running() as (executor, _):
        write = ToolCall(name="write_file", arguments={"path": "a", "content": "mine"})
        read = ToolCall(name="read_file", arguments={"path": "a"})
        assert (await executor.execute("t1", write)).output == "Successfully wrote 4 bytes to a"
        assert (await executor.execute("t1", read)).output == "mine"
        assert (await executor.execute("t2", read)).error == "File not found: a"


async def test_two_first_calls_of_one_trajectory_take_one_slot(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The race of two first calls is no race: the second joins the first one's wait."""
    async with running() as (executor, [daemon]):
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(executor.execute, "t", bash("true"))
        assert daemon.free == 3


async def test_calls_of_one_trajectory_run_in_the_order_of_execute(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Whatever order the scheduler wakes tasks in."""
    async with running() as (executor, [daemon]):
        async with trio.open_nursery() as nursery:

            async def enter(number: int, *, task_status: trio.TaskStatus[None]) -> None:
                task_status.started()
                await executor.execute("t", bash(f"echo {number}"))

            for number in range(50):
                await nursery.start(enter, number)
        [slot] = [slot for slot in daemon.slots.values() if slot.ran]
        assert slot.ran == [f"echo {number}" for number in range(50)]


async def test_a_slow_call_holds_up_nobody_else(autojump_clock: trio.testing.MockClock) -> None:
    """No head-of-line blocking between trajectories, batches or limits."""
    async with running() as (executor, _), trio.open_nursery() as nursery:
        nursery.start_soon(
            executor.execute,
            "slow",
            bash("sleep 60"),
        )
        before = trio.current_time()
        for _ in range(10):
            await executor.execute("fast", bash("true"))
        assert trio.current_time() - before < 0.001
        nursery.cancel_scope.cancel()


async def test_a_limit_is_the_daemons_and_time_in_queues_is_free(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A call that waits 9 s for its turn still has its own 2 s to run."""
    async with running() as (executor, _):
        results: dict[str, ToolResult] = {}

        async def run(name: str, command: str, limit_s: float) -> None:
            results[name] = await executor.execute("t", bash(command), limit_s=limit_s)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "first", "sleep 9", 20.0)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(run, "second", "sleep 1.5", 2.0)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(run, "third", "sleep 3", 2.0)
        assert results["second"].success
        assert results["third"].provenance is Provenance.LIMIT_EXCEEDED
        assert results["third"].error == "Command timed out after 2.0s"
        assert results["third"].metadata["timeout"] is True


async def test_waiting_for_a_slot_is_first_come_first_served(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One slot, three trajectories: each gets it in the order of asking, wiped in between."""
    order: list[str] = []
    async with running(slots=1) as (executor, _):

        async def use(name: str) -> None:
            result = await executor.execute(name, ToolCall(name="read_file", arguments={"path": "a"}))
            assert result.error == "File not found: a"
            order.append(name)
            await executor.execute(name, ToolCall(name="write_file", arguments={"path": "a", "content": "x"}))
            await executor.release(name)

        async with trio.open_nursery() as nursery:
            for name in ("a", "b", "c"):
                nursery.start_soon(use, name)
                await trio.testing.wait_all_tasks_blocked(0.01)
    assert order == ["a", "b", "c"]


async def test_a_slot_released_unwiped_on_request_keeps_its_files(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """``reset_workspace=False`` hands the workspace on."""
    async with running(slots=1) as (executor, _):
        write = ToolCall(name="write_file", arguments={"path": "a", "content": "left"})
        await executor.execute("t1", write)
        await executor.release("t1", reset_workspace=False)
        read = ToolCall(name="read_file", arguments={"path": "a"})
        assert (await executor.execute("t2", read)).output == "left"


async def test_cancelling_a_call_ends_it_at_the_daemon(autojump_clock: trio.testing.MockClock) -> None:
    """The caller's scope reaches the command: the slot is free for the next call at once."""
    async with running() as (executor, _):
        with trio.move_on_after(1) as scope:
            await executor.execute("t", bash("sleep 100"))
        assert scope.cancelled_caught
        assert trio.current_time() < 2
        assert (await executor.execute("t", bash("true"))).success
        assert trio.current_time() < 2


async def test_cancelling_a_wait_for_a_slot_leaves_nothing_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Neither a place in the queue, nor a slot that arrives too late."""
    async with running(slots=1) as (executor, [daemon]):
        await executor.execute("holder", bash("true"))
        with trio.move_on_after(1):
            await executor.execute("waiter", bash("true"))
        assert executor.statistics().slots.waiting == 0
        await executor.release("holder")
        assert daemon.free == 1
        assert executor.statistics().slots.free == 1
        assert (await executor.execute("next", bash("true"))).success


async def test_cancelling_at_random_moments_leaks_no_slot(autojump_clock: trio.testing.MockClock) -> None:
    """A thousand cancels across every phase; then every slot can still be used."""
    async with running(slots=4) as (executor, [daemon]):

        async def one(number: int) -> None:
            with trio.move_on_after(number % 40 / 10):
                await executor.execute(f"t{number % 16}", bash(f"sleep {number % 7 / 2}"))
            if number % 3 == 0:
                await executor.release(f"t{number % 16}")

        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(one, number)
        for number in range(16):
            await executor.release(f"t{number}")
        assert daemon.free == 4
        found = executor.statistics().slots
        assert (found.free, found.taken, found.waiting, found.lost) == (4, 0, 0, 0)


async def test_a_lost_daemon_ends_exactly_its_own_calls(autojump_clock: trio.testing.MockClock) -> None:
    """Typed, at once, and nobody else notices."""
    async with running(slots=1, daemons=2) as (executor, [first, _second]):
        await executor.execute("a", bash("true"))
        await executor.execute("b", bash("true"))
        results: dict[str, ToolResult] = {}

        async def run(name: str) -> None:
            results[name] = await executor.execute(name, bash("sleep 5"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "a")
            nursery.start_soon(run, "b")
            await trio.sleep(1)
            await first.links[0].aclose()
        lost, kept = sorted(results.values(), key=lambda result: result.success)
        assert kept.success
        assert lost.provenance is Provenance.SANDBOX_LOST
        assert lost.provenance.is_infrastructure
        assert lost.metadata["outcome"] == "unknown"


async def test_a_trajectory_that_lost_its_sandbox_is_told_until_it_is_released(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Going on in an empty workspace would be a lie; after a release it may start anew."""
    async with running(slots=1) as (executor, [daemon]):
        await executor.execute("t", bash("true"))
        await daemon.links[0].aclose()
        await trio.sleep(1)
        result = await executor.execute("t", bash("true"))
        assert result.provenance is Provenance.SANDBOX_LOST
        await executor.release("t")
        assert (await executor.execute("t", bash("true"))).success


async def test_leaving_the_executor_gives_everything_back(autojump_clock: trio.testing.MockClock) -> None:
    """Also when the body is cancelled in the middle of calls."""
    async with trio.open_nursery() as outer:

        async def body(*, task_status: trio.TaskStatus[FakeDaemon]) -> None:
            async with running() as (executor, [daemon]), trio.open_nursery() as nursery:
                task_status.started(daemon)
                for number in range(6):
                    nursery.start_soon(executor.execute, f"t{number}", bash("sleep 100"))

        daemon = await outer.start(body)
        await trio.sleep(1)
        assert daemon.free == 0
        outer.cancel_scope.cancel()
    assert daemon.free == 4
    assert not daemon.links


async def test_a_closed_executor_says_so(autojump_clock: trio.testing.MockClock) -> None:
    """In the ancestor's words, which its clients know."""
    async with running() as (executor, _):
        pass
    with pytest.raises(ClosedError, match="ToolExecutor not started"):
        await executor.execute("t", bash("true"))


async def test_no_daemon_at_all_is_one_clear_sentence() -> None:
    """Opening fails; it does not hang."""
    with pytest.raises(
        UnavailableError, match="no sandbox daemon can be reached: backend memory has no daemon"
    ):
        async with open_executor(MemoryBackend({})):
            pass


async def test_the_bodys_own_error_leaves_as_it_was(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody has to unwrap a group because we use nurseries inside."""
    with pytest.raises(KeyError, match="mine"):
        async with running():
            raise KeyError("mine")


async def test_releasing_ends_what_runs_and_is_idempotent(autojump_clock: trio.testing.MockClock) -> None:
    """A call that still runs ends as cancelled; releasing again, or nothing, is fine."""
    async with running() as (executor, [daemon]):
        results: list[ToolResult] = []

        async def run() -> None:
            results.append(await executor.execute("t", bash("sleep 100")))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.sleep(1)
            await executor.release("t")
        assert [result.provenance for result in results] == [Provenance.CANCELLED]
        await executor.release("t")
        await executor.release("never heard of")
        assert daemon.free == 4


async def test_a_batch_window_gathers_calls_into_one_message(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The ancestor's behaviour, for those who want it."""
    async with running(slots=8, batch_window_ms=20) as (executor, _):
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(executor.execute, f"t{number}", bash("true"))
        link = executor.statistics().links["d0"]
        assert link.postings_sent == 16
        assert link.messages_sent <= 4


async def test_a_full_queue_is_an_answer_not_a_wait(autojump_clock: trio.testing.MockClock) -> None:
    """The bound on queued calls is typed and loses nobody else's call."""
    async with running(slots=1, max_queued=1, batch_window_ms=1000) as (executor, _):
        await executor.execute("t", bash("true"))
        results: list[ToolResult] = []

        async def run() -> None:
            results.append(await executor.execute("t", bash("true")))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(run)
        assert sorted(result.provenance for result in results) == ["ok", "unavailable", "unavailable"]


def test_settings_reach_the_link() -> None:
    """What is configured is what the pump is driven by, in its units."""
    pump = fleet_config(ExecutorConfig(batch_window_ms=20, max_batch_size=7, max_queued=9)).pump
    assert (pump.batch_window_s, pump.max_batch_size, pump.max_queued) == (0.02, 7, 9)


async def test_a_call_too_large_for_the_wire_is_refused_and_harms_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nothing is sent, the caller is told, and the link goes on."""
    async with running() as (executor, _):
        result = await executor.execute("t", bash("#" * 5_000_000))
        assert result.provenance is Provenance.INVALID_REQUEST
        assert "cannot be sent" in result.error
        assert (await executor.execute("t", bash("true"))).success


async def test_handlers_and_slots_are_one_road(autojump_clock: trio.testing.MockClock) -> None:
    """A handler is told where its trajectory is, waits for nobody, and is counted like any other call."""

    async def where(context: ToolContext) -> dict[str, Any]:
        await trio.sleep(1)
        told = {"slot": context.slot_id, "daemon": context.container_addr, "limit_s": context.limit_s}
        return told | {"about": context.user_task} if context.user_task else told

    (shell,) = limited(renamed([BASH], {"bash": "sh"}), max_output_chars=4)
    registry = ToolRegistry([shell, python_tool(where)])
    backend = MemoryBackend({"d": FakeDaemon(slots=1)})
    async with open_executor(backend, tools=registry) as executor:
        about = await executor.execute("t", ToolCall("where", {}, user_task="find it"))
        assert '"about": "find it"' in about.output
        before = await executor.execute("t", ToolCall("where", {}), limit_s=7.0)
        assert before.output == '{"slot": null, "daemon": null, "limit_s": 7.0}'
        async with trio.open_nursery() as nursery:
            nursery.start_soon(executor.execute, "t", ToolCall("sh", {"command": "sleep 1"}))
            after = await executor.execute("t", ToolCall("where", {}), limit_s=7.0)
        assert trio.current_time() == pytest.approx(3.0)
        assert after.output == '{"slot": null, "daemon": null, "limit_s": 7.0}'
        assert "fake_0" in (await executor.execute("t", ToolCall("where", {}))).output
        assert "memory:d" in (await executor.execute("t", ToolCall("where", {}))).output
        cut = await executor.execute("t", ToolCall("sh", {"command": "echo 123456789"}))
        assert (cut.output.startswith("12\n[... 5 of 9"), cut.metadata["truncated"]) == (True, True)
        assert executor.statistics().total_requests == 7
