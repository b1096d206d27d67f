"""The fleet's patience: when a daemon is waited for, and when those who wait are told that it is no use."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from attrs import define, field

from hermes_trio.errors import LinkLostError, Provenance, UnavailableError
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.fleet.calls import CallRecord
from hermes_trio.fleet.connection import DaemonConnection
from hermes_trio.link.message import MessageLink
from hermes_trio.link.pump import PumpConfig
from hermes_trio.slots.pool import SlotPool
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend, open_memory_backend
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.wire.frames import Limits


def bash(command: str) -> ToolCall:
    """A call of the shell."""
    return ToolCall(name="bash", arguments={"command": command})


@define
class Waiter:
    """Somebody who waits for a slot."""

    executor: Executor
    results: list[ToolResult] = field(factory=list)

    async def run(self) -> None:
        """One call."""
        self.results.append(await self.executor.execute("waiter", bash("true")))


async def test_a_blink_of_the_only_link_does_not_turn_waiters_away(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """However long it was up before: patience is counted from its loss."""
    daemon = FakeDaemon(slots=1)
    async with open_executor(MemoryBackend({"d": daemon})) as executor:
        await executor.execute("holder", bash("true"))
        await trio.sleep(3600)
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                assert (await executor.execute("waiter", bash("true"))).success

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await daemon.links[0].aclose()


@pytest.mark.parametrize("steps", range(8))
async def test_a_daemon_whose_link_breaks_as_it_is_withdrawn_is_waited_for(
    autojump_clock: trio.testing.MockClock, steps: int
) -> None:
    """A killed daemon that its backend starts again, whichever of the two is noticed first."""
    daemon = FakeDaemon(slots=1)
    async with open_memory_backend({"d": daemon}) as backend, open_executor(backend) as executor:
        [endpoint] = backend.board.snapshot.endpoints
        waits = Waiter(executor)
        await executor.execute("holder", bash("true"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waits.run)
            await trio.testing.wait_all_tasks_blocked()
            daemon.links[0].break_link()  # type: ignore[attr-defined]
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            backend.board.withdraw("d")
            await trio.sleep(20)
            assert waits.results == []
            backend.board.publish(endpoint)
        assert [result.success for result in waits.results] == [True]


async def test_patience_is_counted_from_the_loss_of_the_last_daemon(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """However long it was up, and although another is knocked at in vain."""
    absent, present = FakeDaemon(slots=1), FakeDaemon(slots=1)
    absent.absent = UnavailableError("no route.")
    async with (
        open_memory_backend({"a": absent, "p": present}) as backend,
        open_executor(backend) as executor,
    ):
        [endpoint] = [each for each in backend.board.snapshot.endpoints if each.name == "p"]
        await trio.sleep(3600)
        waits = Waiter(executor)
        async with trio.open_nursery() as nursery:
            backend.board.withdraw("p")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(waits.run)
            await trio.sleep(25)
            assert waits.results == []
            backend.board.publish(endpoint)
        assert [result.success for result in waits.results] == [True]


class HungDaemon(FakeDaemon):
    """Takes links and says nothing on them until it is let go."""

    hung = True

    async def serve(
        self, link: MessageLink, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Silence, or as a daemon would. Cancellation: atomic."""
        if not self.hung:
            await super().serve(link, task_status=task_status)
            return
        task_status.started()
        await trio.sleep_forever()


async def test_a_daemon_that_takes_links_and_says_nothing_is_given_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Silence is bounded before the welcome as after it."""
    with trio.fail_after(60), pytest.raises(UnavailableError, match="the peer was silent"):
        async with open_executor(MemoryBackend({"d": HungDaemon()})):
            pass


async def never_sent(_data: bytes) -> None:
    """What a half-open link does with a message. Cancellation: atomic."""
    await trio.sleep_forever()


async def test_a_daemon_that_hangs_half_way_ends_its_calls(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-open link is found out by heartbeats; the daemon is found again when it answers."""
    daemon = FakeDaemon(slots=1)
    async with open_executor(MemoryBackend({"d": daemon})) as executor:
        await executor.execute("t", bash("true"))
        link = daemon.links[0]
        monkeypatch.setattr(link, "send_message", never_sent)
        with trio.fail_after(60):
            result = await executor.execute("t", bash("sleep 1"))
        assert result.provenance is Provenance.SANDBOX_LOST  # this fake keeps no session without a link
        assert (await executor.execute("u", bash("true"))).success


async def test_a_daemon_that_comes_back_before_its_old_link_is_buried() -> None:
    """The new session takes the name; the old one's end is no news any more."""
    await trio.lowlevel.checkpoint()
    pool = SlotPool()
    old, new = (
        DaemonConnection("d", listener=pool, on_open=lambda: None, limits=Limits(), pump=PumpConfig())
        for _ in range(2)
    )
    pool.daemon_up(old, 2)
    record = CallRecord(operation="bash", arguments={}, trajectory_id="t")
    pool.submit(record)
    pool.daemon_up(new, 3)
    pool.daemon_down(old)
    old.end(LinkLostError("gone"))
    slots = pool.statistics()
    assert (slots.daemons, slots.total, slots.taken) == (1, 3, 1)
    assert not record.ended
    assert repr(pool) == "<SlotPool <SlotTable 0 leased, 2 free of 3, 0 waiting, 0 lost>>"
