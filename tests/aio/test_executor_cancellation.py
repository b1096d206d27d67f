"""A cancel at every checkpoint of the executor's verbs: each slot is back, and nothing is left."""

from __future__ import annotations

import trio
import trio.testing

from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.testing.checkpoints import cancel_at_every_checkpoint
from hermes_trio.testing.fake_daemon import FakeCall, FakeDaemon, FakeOutcome
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.calls import ToolCall
from hermes_trio.wire.operations import Operation


def bash(command: str) -> ToolCall:
    """A call of the shell."""
    return ToolCall(name="bash", arguments={"command": command})


async def expect_idle(executor: Executor, daemon: FakeDaemon) -> None:
    """Release the one trajectory, then every place is free on both sides."""
    await executor.release("t")
    slots = executor.statistics().slots
    assert (slots.free, slots.taken, slots.waiting, slots.lost) == (2, 0, 0, 0)
    assert executor.statistics().in_flight == 0
    assert daemon.free == 2
    assert not any(slot.queue for slot in daemon.slots.values())


async def test_opening_and_leaving_can_be_cancelled_anywhere(autojump_clock: trio.testing.MockClock) -> None:
    """Neither a hang behind a shield nor a link that stays."""
    daemon = FakeDaemon(slots=2)

    async def whole_life() -> None:
        async with open_executor(MemoryBackend({"d": daemon})) as executor:
            assert (await executor.execute("t", bash("sleep 1"))).success

    async def check() -> None:
        await trio.lowlevel.checkpoint()
        assert not daemon.links
        assert daemon.free == 2

    with trio.fail_after(10_000):
        report = await cancel_at_every_checkpoint(whole_life, check=check)
    assert report.cancelled > 10


async def test_execute_can_be_cancelled_anywhere(autojump_clock: trio.testing.MockClock) -> None:
    """From the wait for a slot to the answer: the call is over when its caller has left."""
    daemon = FakeDaemon(slots=2)
    async with open_executor(MemoryBackend({"d": daemon})) as executor:

        async def run() -> None:
            assert (await executor.execute("t", bash("sleep 1"))).success

        async def check() -> None:
            await expect_idle(executor, daemon)

        report = await cancel_at_every_checkpoint(run, check=check)
    assert report.cancelled >= 3


async def test_release_can_be_cancelled_anywhere_and_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    """Leaving a release does not undo it; the next user gets a wiped slot."""
    daemon = FakeDaemon(slots=2)
    async with open_executor(MemoryBackend({"d": daemon})) as executor:

        async def run() -> None:
            with trio.CancelScope(shield=True):
                assert (await executor.execute("t", bash("true"))).success
            await executor.release("t")

        async def check() -> None:
            await expect_idle(executor, daemon)

        report = await cancel_at_every_checkpoint(run, check=check)
    assert report.cancelled >= 2


async def test_quiesce_can_be_cancelled_anywhere(autojump_clock: trio.testing.MockClock) -> None:
    """The call it stood behind goes on; the next quiesce works."""
    daemon = FakeDaemon(slots=2)
    async with open_executor(MemoryBackend({"d": daemon})) as executor, trio.open_nursery() as nursery:

        async def run() -> None:
            with trio.CancelScope(shield=True):
                nursery.start_soon(executor.execute, "t", bash("sleep 5"))
                await trio.testing.wait_all_tasks_blocked()
            await executor.quiesce("t")

        async def check() -> None:
            await executor.quiesce("t")
            await expect_idle(executor, daemon)

        report = await cancel_at_every_checkpoint(run, check=check)
    assert report.cancelled >= 2


class HoardingDaemon(FakeDaemon):
    """Its heart beats and it works, but it never says that it took a slot back."""

    async def run_call(self, owner: str, running: FakeCall) -> FakeOutcome:
        """As a daemon would, but for a release. Cancellation: atomic."""
        if running.call.operation == Operation.SLOT_RELEASE:
            await trio.sleep_forever()
        return await super().run_call(owner, running)


async def test_a_daemon_that_keeps_slots_delays_the_end_by_the_grace_only(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """And whatever else has to be closed is closed all the same."""
    config = ExecutorConfig(close_grace_s=3, tool_server_url="http://tools.invalid")
    async with open_executor(MemoryBackend({"d": HoardingDaemon(slots=1)}), config=config) as executor:
        await executor.execute("t", bash("true"))
        assert executor._tool_server is not None
        client = executor._tool_server._http
    assert client.is_closed
    assert trio.current_time() < 6
