"""A daemon that is too busy: calls wait, in order, with their limits untouched, and nobody spins."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from hermes_trio.errors import Provenance
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.testing.fake_daemon import FakeDaemon, FakeOutcome
from hermes_trio.testing.memory_backend import open_memory_backend
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.wire.frames import Call, Lease


class BusyUntil:
    """Sends calls of slots back until a moment; then, as the real one, those that say `again` first."""

    def __init__(self, moment: float) -> None:
        self.moment = moment
        self.refused = 0
        self.closed: set[Lease] = set()

    def __call__(self, call: Call) -> FakeOutcome | None:
        """The script of a fake."""
        if call.lease is None or call.operation == "slot.release":
            return None
        if trio.current_time() >= self.moment and (call.lease not in self.closed or call.again):
            self.closed.discard(call.lease)
            return None
        self.closed.add(call.lease)
        self.refused += 1
        return FakeOutcome(Provenance.UNAVAILABLE, "busy", {"busy": True, "retry_after_s": 0.5})


async def run(executor: Executor, name: str, command: str, into: list[ToolResult]) -> None:
    """A call whose result is kept."""
    call = ToolCall(name="bash", arguments={"command": command})
    into.append(await executor.execute(name, call, limit_s=3))


async def test_calls_wait_and_keep_their_order_and_their_limits(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Longer than any of their limits; one attempt for each hint, not more."""
    script = BusyUntil(20)
    daemon = FakeDaemon(slots=2, script=script)
    results: list[ToolResult] = []
    async with open_memory_backend({"d": daemon}) as backend, open_executor(backend) as executor:
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(run, executor, "t", f"echo {number}", results)
                await trio.sleep(0.3)
            nursery.start_soon(run, executor, "u", "sleep 2", results)
        assert all(result.success for result in results)
        assert len(results) == 7
        [ran] = [slot.ran for slot in daemon.slots.values() if len(slot.ran) == 6]
        assert ran == [f"echo {number}" for number in range(6)]
        assert script.refused < 7 * 45
        assert trio.current_time() < 24


async def test_a_call_that_waits_for_a_busy_daemon_can_be_taken_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It costs nothing, and never runs; a release ends what waits."""
    daemon = FakeDaemon(slots=1, script=BusyUntil(20))
    results: list[ToolResult] = []
    async with open_memory_backend({"d": daemon}) as backend, open_executor(backend) as executor:
        with trio.move_on_after(5.2):
            await run(executor, "t", "echo never", results)
        assert trio.current_time() == pytest.approx(5.2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, executor, "t", "echo neither", results)
            await trio.sleep(3.2)
            await executor.release("t")
        assert [result.provenance for result in results] == [Provenance.UNAVAILABLE]
        assert [slot.ran for slot in daemon.slots.values()] == [[]]


async def test_what_waits_for_a_busy_daemon_is_told_of_its_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It certainly did not run."""
    daemon = FakeDaemon(slots=1, script=BusyUntil(100))
    results: list[ToolResult] = []
    async with open_memory_backend({"d": daemon}) as backend, open_executor(backend) as executor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, executor, "t", "echo never", results)
            await trio.sleep(3.2)
            daemon.kill()
        [result] = results
        assert (result.provenance, result.metadata["outcome"]) == (Provenance.SANDBOX_LOST, "not_started")
