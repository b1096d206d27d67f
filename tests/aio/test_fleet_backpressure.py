"""A link that does not take what is posted: nothing spins, nothing stalls, nothing piles up."""

from __future__ import annotations

from uuid import uuid4

import pytest
import trio
import trio.testing

from hermes_trio.errors import BrokenLinkError, BusyError
from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.executor import open_executor
from hermes_trio.link.outbox import Outbox
from hermes_trio.link.pump import Pump, PumpConfig
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.links import open_memory_links
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.wire.frames import Limits, SessionId
from hermes_trio.wire.session import Session


def bash(command: str) -> ToolCall:
    """A call of the shell."""
    return ToolCall(name="bash", arguments={"command": command})


def new_session(limits: Limits | None = None) -> Session:
    """An executor's side."""
    return Session.for_executor(SessionId(uuid4().hex), limits=limits or Limits())


async def test_postings_that_write_nothing_do_not_hold_up_those_behind_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A whole batch without a frame is no reason to wait for the next heartbeat."""
    daemon, reached = FakeDaemon(), trio.Event()
    pump = Pump(new_session(), on_event=lambda _event: None, config=PumpConfig(max_batch_size=2))
    pump.session.link_up()

    async def drive() -> None:
        async with daemon.dial() as link:
            await pump.run(link)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drive)
        await trio.sleep(0.1)
        for _ in range(4):
            pump.post(lambda _session: None)
        pump.post(lambda _session: reached.set())
        with trio.fail_after(1):
            await reached.wait()
        nursery.cancel_scope.cancel()


async def test_waiting_for_a_full_window_to_empty_lets_time_pass(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What cannot be handed to the link yet is waited for, not asked for again and again."""
    near, _far = open_memory_links()
    pump = Pump(new_session(), on_event=lambda _event: None)
    pump.session.link_up()

    async def drive() -> None:
        await pump.run(near)

    rounds = 0

    class Count(trio.abc.Instrument):
        """Counts steps, and ends the spinning that the test is about."""

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            nonlocal rounds
            rounds += 1
            if rounds > 5000:
                nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drive)
        await trio.testing.wait_all_tasks_blocked()
        pump.post(lambda _session: None, lane="a")  # no welcome yet: the session has no room
        trio.lowlevel.add_instrument(counter := Count())
        with trio.move_on_after(1) as scope:
            await pump.wait_flushed()
        trio.lowlevel.remove_instrument(counter)
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()
    assert rounds < 1000


async def test_waiting_for_the_flush_ends_with_the_link(autojump_clock: trio.testing.MockClock) -> None:
    """Nothing more will be handed to it."""
    near, far = open_memory_links()
    pump = Pump(new_session(), on_event=lambda _event: None)
    pump.session.link_up()

    async def drive() -> None:
        with pytest.raises(BrokenLinkError):
            await pump.run(near)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drive)
        await trio.testing.wait_all_tasks_blocked()
        pump.post(lambda _session: None, lane="a")
        nursery.start_soon(far.aclose)
        with trio.fail_after(1):
            await pump.wait_flushed()


def test_what_is_withdrawn_is_let_go_at_once() -> None:
    """While a link takes nothing, coming and going leaves no husks behind."""
    outbox = Outbox(max_entries=2)
    outbox.put(lambda _session: None, lane="b")
    for _ in range(1000):
        assert outbox.withdraw(outbox.put(lambda _session: None, lane="a"))
        assert outbox.withdraw(outbox.put(lambda _session: None))
    assert repr(outbox) == "<Outbox 1/2 waiting in 1 lanes>"
    outbox.put(lambda _session: None, lane="a")
    with pytest.raises(BusyError):
        outbox.put(lambda _session: None, lane="a")


async def test_slots_come_and_go_although_no_call_fits(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acquiring and releasing wait for room where calls are refused: no place is lost for want of it."""
    monkeypatch.setattr("hermes_trio.testing.fake_daemon.Limits", lambda: Limits(max_calls=2))
    daemon = FakeDaemon(slots=4)
    results: list[ToolResult] = []

    async with open_executor(MemoryBackend({"d": daemon}), config=ExecutorConfig()) as executor:

        async def run(name: str) -> None:
            results.append(await executor.execute(name, bash("sleep 1")))

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(run, f"t{number}")
        assert len(results) == 4
        for number in range(4):
            with trio.fail_after(20):
                await executor.release(f"t{number}")
        slots = executor.statistics().slots
        assert (slots.total, slots.free, slots.waiting, slots.lost) == (4, 4, 0, 0)
        assert daemon.free == 4
