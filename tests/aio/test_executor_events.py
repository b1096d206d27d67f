"""What an executor tells of its calls, slots and daemons, and that a snapshot and the events agree."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from hermes_trio.errors import Provenance
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.telemetry.events import (
    CallEnded,
    CallOnTheWire,
    CallPacked,
    CallQueued,
    CallRunning,
    DaemonChanged,
    DaemonState,
    LeaseChanged,
    LeaseState,
    LinkChanged,
    LinkState,
    Stamped,
)
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.functions import python_tool
from hermes_trio.tools.registry import ToolRegistry


def bash(command: str, **arguments: Any) -> ToolCall:
    """A call of the shell."""
    return ToolCall(name="bash", arguments={"command": command, **arguments}, uniq_id="u")


@asynccontextmanager
async def running(slots: int = 2, **options: Any) -> AsyncIterator[tuple[Executor, FakeDaemon]]:
    """An executor on a daemon in memory."""
    fake = FakeDaemon(slots=slots)
    async with open_executor(MemoryBackend({"d": fake}), **options) as executor:
        yield executor, fake


def _of(events: Iterable[Stamped], *kinds: type) -> list[Any]:
    return [each.event for each in events if isinstance(each.event, kinds)]


async def test_a_call_is_told_phase_by_phase(autojump_clock: trio.testing.MockClock) -> None:
    """Queued, packed, on the wire, ended; with who, where and how long."""
    async with running() as (executor, _), executor.events() as events:
        await executor.execute("t", bash("sleep 2"), limit_s=7.0)
        told = _of(events.take_nowait(), CallQueued, CallPacked, CallOnTheWire, CallEnded)
    queued, packed, sent, ended = told
    assert queued == CallQueued(
        call=1, trajectory="t", tool="bash", uniq_id="u", limit_s=7.0, slot_bound=True, summary="sleep 2"
    )
    assert (packed.call, packed.daemon) == (1, "d")
    assert packed.slot
    assert sent == CallOnTheWire(call=1)
    assert (ended.call, ended.provenance, ended.success) == (1, Provenance.OK, True)
    assert ended.latency_s >= 2
    assert ended.queue_s is not None
    assert ended.queue_s < 1


async def test_a_lease_is_told_from_asking_to_giving_back(autojump_clock: trio.testing.MockClock) -> None:
    """With the slot as soon as there is one."""
    async with running() as (executor, _), executor.events() as events:
        await executor.execute("t", bash("true"))
        await executor.release("t")
        leases = _of(events.take_nowait(), LeaseChanged)
    states = [lease.state for lease in leases]
    assert states == [
        LeaseState.WAITING,
        LeaseState.ACQUIRING,
        LeaseState.LEASED,
        LeaseState.RELEASING,
        LeaseState.RELEASED,
    ]
    assert len({lease.slot for lease in leases if lease.slot}) == 1
    assert all(lease.slot for lease in leases[2:])


async def test_a_daemon_that_dies_is_told_with_what_it_took(autojump_clock: trio.testing.MockClock) -> None:
    """The link, the lease, the call and the daemon."""
    async with running() as (executor, fake), executor.events() as events, trio.open_nursery() as nursery:
        nursery.start_soon(executor.execute, "t", bash("sleep 100"))
        await trio.sleep(1)
        fake.kill()
        await trio.sleep(60)
        told = [*events.take_nowait()]
    assert DaemonState.PAUSED in [each.state for each in _of(told, DaemonChanged)]
    assert LinkState.LOST in [each.state for each in _of(told, LinkChanged)]
    assert LeaseState.LOST in [each.state for each in _of(told, LeaseChanged)]
    [ended] = _of(told, CallEnded)
    assert ended.provenance.is_infrastructure


async def test_a_call_whose_caller_leaves_is_told_as_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nobody has its result, but it ended all the same."""
    async with running() as (executor, _), executor.events() as events:
        with trio.move_on_after(1):
            await executor.execute("t", bash("sleep 100"))
        [ended] = _of(events.take_nowait(), CallEnded)
    assert ended.provenance is Provenance.CANCELLED
    assert len(executor.snapshot().events) <= 2


async def test_a_streamed_call_is_told_too(autojump_clock: trio.testing.MockClock) -> None:
    """Read to its end, and left half-way."""
    async with running() as (executor, _), executor.events() as events:
        async for _item in executor.stream("t", bash("echo hi")):
            pass
        async with executor.stream("t", bash("echo a && sleep 50")) as stream:
            await anext(stream)
        told = _of(events.take_nowait(), CallEnded)
    assert [each.provenance for each in told] == [Provenance.OK, Provenance.CANCELLED]


async def test_refused_calls_and_calls_of_this_process_are_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """They never see a daemon."""

    async def greet(name: str) -> str:
        """Say hello."""
        await trio.lowlevel.checkpoint()
        return f"hello {name}"

    tools = ToolRegistry([python_tool(greet)])
    async with running(tools=tools) as (executor, _), executor.events() as events:
        result = await executor.execute("t", ToolCall(name="greet", arguments={"name": "you"}))
        assert isinstance(result, ToolResult)
        assert result.success
        await executor.execute("t", ToolCall(name="nothing", arguments={}))
        told = _of(events.take_nowait(), CallQueued, CallRunning, CallEnded, CallPacked)
    kinds = [type(each) for each in told]
    assert kinds == [CallQueued, CallRunning, CallEnded, CallQueued, CallEnded]
    assert not told[0].slot_bound
    assert told[-1].provenance is Provenance.INVALID_REQUEST


async def test_a_snapshot_tells_late_comers_what_is_there(autojump_clock: trio.testing.MockClock) -> None:
    """The daemon, the lease and the call with its phase, each with its own moment."""
    async with running() as (executor, _), trio.open_nursery() as nursery:
        nursery.start_soon(executor.execute, "t", bash("sleep 5"))
        await trio.sleep(2)
        snapshot = executor.snapshot()
        [daemon] = _of(snapshot.events, DaemonChanged)
        assert (daemon.daemon, daemon.state, daemon.slots) == ("d", DaemonState.UP, 2)
        [lease] = _of(snapshot.events, LeaseChanged)
        assert (lease.trajectory, lease.state) == ("t", LeaseState.LEASED)
        queued, packed = _of(snapshot.events, CallQueued, CallPacked)
        assert (queued.call, packed.daemon, packed.slot) == (1, "d", lease.slot)
        moments = [each.at_s for each in snapshot.events]
        assert max(moments) <= snapshot.at_s - 1.5
