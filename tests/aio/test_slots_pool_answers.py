"""Every caller is answered: what the pool does when a slot cannot be asked for, given back, or believed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from hermes_trio.backends.base import DaemonEndpoint
from hermes_trio.errors import Provenance, SandboxLostError, SlotStateError, UnavailableError
from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.testing.fake_daemon import FakeCall, FakeDaemon, FakeOutcome
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.wire.operations import Operation


def bash(command: str) -> ToolCall:
    """A call of the shell."""
    return ToolCall(name="bash", arguments={"command": command})


class ScriptedDaemon(FakeDaemon):
    """A fake that answers some operations as it is told to, after a delay."""

    def __init__(
        self, answers: Mapping[Operation, FakeOutcome], *, slots: int = 1, delay_s: float = 0
    ) -> None:
        super().__init__(slots=slots)
        self.answers = dict(answers)
        self.delay_s = delay_s

    async def run_call(self, owner: str, running: FakeCall) -> FakeOutcome:
        """As told, or as a daemon would. Cancellation: atomic."""
        if running.call.operation == Operation.SLOT_ACQUIRE:
            await trio.sleep(self.delay_s)
        answer = self.answers.get(Operation(running.call.operation))
        return answer or await super().run_call(owner, running)


@asynccontextmanager
async def executor_on(*daemons: FakeDaemon) -> AsyncIterator[tuple[Executor, MemoryBackend]]:
    """An executor on these, and the backend to let them come and go."""
    backend = MemoryBackend({f"d{number}": daemon for number, daemon in enumerate(daemons)})
    async with open_executor(backend, config=ExecutorConfig(close_grace_s=1)) as executor:
        yield executor, backend


async def test_a_slot_that_cannot_even_be_asked_for_is_an_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A trajectory id that has no form on the wire: refused, not waited for, and its place is free again."""
    async with executor_on(FakeDaemon(slots=1)) as (executor, _):
        with trio.fail_after(5):
            result = await executor.execute("\ud800", bash("true"))
        assert result.provenance is Provenance.INVALID_REQUEST
        assert executor.statistics().slots.free == 1
        assert (await executor.execute("t", bash("true"))).success


async def test_a_refused_slot_is_an_answer(autojump_clock: trio.testing.MockClock) -> None:
    """The daemon's reason reaches the caller, and the place is free again."""
    refusal = FakeOutcome(Provenance.UNAVAILABLE, "the disk is full")
    async with executor_on(ScriptedDaemon({Operation.SLOT_ACQUIRE: refusal})) as (executor, _):
        result = await executor.execute("t", bash("true"))
        assert result.error == "Failed to acquire slot: the disk is full"
        assert executor.statistics().slots.free == 1


async def test_a_lease_that_is_none_ends_the_link_and_not_the_program(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The report is checked like anything else a peer says; the next link may bring better ones."""
    daemon = ScriptedDaemon({Operation.SLOT_ACQUIRE: FakeOutcome(data={"slot": 7})})
    async with executor_on(daemon) as (executor, _), trio.open_nursery() as nursery:
        nursery.start_soon(executor.execute, "t", bash("true"))
        await trio.sleep(1)
        daemon.answers.clear()
        with trio.fail_after(20):
            assert (await executor.execute("t", bash("true"))).success


async def test_a_slot_that_could_not_be_wiped_leaves_service(autojump_clock: trio.testing.MockClock) -> None:
    """With no slot left, who asks is told so at once."""
    dirty = FakeOutcome(data={"state": "quarantined"})
    async with executor_on(ScriptedDaemon({Operation.SLOT_RELEASE: dirty})) as (executor, _):
        await executor.execute("t", bash("true"))
        await executor.release("t")
        assert executor.statistics().slots.total == 0
        result = await executor.execute("t", bash("true"))
        assert result.provenance is Provenance.UNAVAILABLE
        assert "quarantined" in result.error


async def test_releasing_ends_although_the_trajectory_starts_anew_meanwhile(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A release during the wait for a slot is over when that wait is; the new call gets the slot."""
    async with executor_on(ScriptedDaemon({}, delay_s=5)) as (executor, _):
        results: list[ToolResult] = []

        async def run() -> None:
            results.append(await executor.execute("t", bash("true")))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.sleep(1)
            nursery.start_soon(executor.release, "t")
            await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(20):
                await run()
            nursery.cancel_scope.deadline = trio.current_time() + 1
        assert not nursery.cancel_scope.cancelled_caught
        assert [result.provenance for result in results] == [Provenance.UNAVAILABLE, Provenance.OK]


async def test_a_release_ends_when_the_daemon_goes_before_it_gave_the_slot(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nobody wants that slot any more: the trajectory does not queue for another."""
    daemon = ScriptedDaemon({}, delay_s=5)
    async with executor_on(daemon) as (executor, backend), trio.open_nursery() as nursery:
        nursery.start_soon(executor.execute, "t", bash("true"))
        await trio.sleep(1)
        nursery.start_soon(executor.release, "t")
        await trio.testing.wait_all_tasks_blocked()
        backend.board.withdraw("d0")
        with trio.fail_after(1):
            await executor.release("t")
        assert executor.statistics().slots.waiting == 0


async def test_the_last_daemons_leaving_is_heard_by_those_who_asked_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Also by who was being given a slot at that moment: nothing more will come."""
    async with executor_on(ScriptedDaemon({}, delay_s=5)) as (executor, backend):
        results: list[ToolResult] = []

        async def run() -> None:
            results.append(await executor.execute("t", bash("true")))

        with trio.move_on_after(100):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                await trio.sleep(1)
                backend.board.withdraw("d0")
        assert [result.provenance for result in results] == [Provenance.UNAVAILABLE]


async def test_a_daemon_that_moves_keeps_its_name(autojump_clock: trio.testing.MockClock) -> None:
    """The same name at another address: what ran there is lost, and the next call finds the new one."""
    async with executor_on(FakeDaemon(slots=1)) as (executor, backend):
        await executor.execute("t", bash("true"))
        backend.board.publish(DaemonEndpoint(name="d0", url="memory:elsewhere"))
        await trio.sleep(1)
        assert (await executor.execute("t", bash("true"))).provenance is Provenance.SANDBOX_LOST
        assert (await executor.execute("u", bash("true"))).success


async def test_quiescing_a_lost_trajectory_says_that_it_is_lost(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A verifier must not look into a workspace that is gone."""
    daemon = FakeDaemon(slots=1)
    async with executor_on(daemon) as (executor, _):
        await executor.execute("t", bash("true"))
        await daemon.links[0].aclose()
        await trio.sleep(1)
        with pytest.raises(SandboxLostError, match="lost its sandbox"):
            await executor.quiesce("t")


@pytest.mark.parametrize(
    ("provenance", "error"),
    [
        (Provenance.SANDBOX_LOST, SandboxLostError),
        (Provenance.CANCELLED, SlotStateError),
        (Provenance.INTERNAL_ERROR, UnavailableError),
    ],
)
async def test_a_quiesce_that_failed_is_no_success(
    autojump_clock: trio.testing.MockClock, provenance: Provenance, error: type[Exception]
) -> None:
    """Whatever the daemon answers but yes is raised."""
    no = FakeOutcome(provenance, "not now")
    async with executor_on(ScriptedDaemon({Operation.SLOT_QUIESCE: no})) as (executor, _):
        await executor.execute("t", bash("true"))
        with pytest.raises(error, match="not now"):
            await executor.quiesce("t")


async def test_quiescing_waits_for_a_call_that_has_no_slot_yet(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Order is that of entering: what was asked before is over before."""
    async with executor_on(ScriptedDaemon({}, delay_s=5)) as (executor, _), trio.open_nursery() as nursery:
        nursery.start_soon(executor.execute, "t", bash("sleep 2"))
        await trio.testing.wait_all_tasks_blocked()
        await executor.quiesce("t")
        assert trio.current_time() >= 7
        await executor.quiesce("nobody")
