"""What calls leave behind in the executor's process: nothing, not even for the garbage collector.

What only the collector can free stays until its next full round, which comes late in a process that holds
much. Results are the large part of it, and the allocator does not get the gaps back.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from hermes_trio.errors import LostError, Provenance
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.fleet.calls import CallRecord
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.calls import ToolCall

Use = Callable[[Executor, str], Awaitable[None]]


def bash(command: str) -> ToolCall:
    """A call of the shell."""
    return ToolCall(name="bash", arguments={"command": command})


@contextmanager
def cyclic_garbage() -> Iterator[Counter[str]]:
    """Counts by type what of ours becomes garbage within the block that only the collector can find."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        names = (f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
        found.update(name for name in names if name.startswith(("hermes_trio.", "builtins.function")))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def _call(executor: Executor, trajectory: str) -> None:
    result = await executor.execute(trajectory, bash("echo hi"))
    assert result.success


async def _call_and_release(executor: Executor, trajectory: str) -> None:
    await _call(executor, trajectory)
    await executor.release(trajectory)


async def _hit_the_limit(executor: Executor, trajectory: str) -> None:
    await executor.execute(trajectory, bash("sleep 60"), limit_s=1)
    await executor.release(trajectory)


async def _leave(executor: Executor, trajectory: str) -> None:
    with trio.move_on_after(1) as scope:
        await executor.execute(trajectory, bash("sleep 60"))
    assert scope.cancelled_caught
    await executor.release(trajectory)


async def _leave_at_once(executor: Executor, trajectory: str) -> None:
    with trio.move_on_after(0) as scope:
        await executor.execute(trajectory, bash("echo hi"))
    assert scope.cancelled_caught
    await executor.release(trajectory)


@pytest.mark.parametrize("use", [_call_and_release, _hit_the_limit, _leave, _leave_at_once])
async def test_a_call_that_is_over_is_gone_without_the_collector(
    use: Use, autojump_clock: trio.testing.MockClock
) -> None:
    """However it ended: records, results and holders go when the last one who needs them does."""
    backend = MemoryBackend({"d": FakeDaemon(slots=2)})
    async with open_executor(backend) as executor:
        await use(executor, "first")
        with cyclic_garbage() as found:
            for number in range(5):
                await use(executor, f"t{number}")
    assert found == {}


def _live_records() -> int:
    gc.collect()
    return sum(isinstance(each, CallRecord) for each in gc.get_objects())


async def test_telling_of_a_loss_again_and_again_holds_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """All calls of a lost trajectory end with one error: it must not collect their tracebacks."""
    daemon = FakeDaemon(slots=1)
    async with open_executor(MemoryBackend({"d": daemon})) as executor:
        await _call(executor, "t")
        await daemon.links[0].aclose()
        await trio.sleep(1)
        before = _live_records()
        with cyclic_garbage() as found:
            for _ in range(5):
                result = await executor.execute("t", bash("true"))
                assert result.provenance is Provenance.SANDBOX_LOST
        assert found == {}
        for _ in range(5):
            with pytest.raises(LostError):
                await executor.quiesce("t")
        assert _live_records() <= before + 1  # the last traceback may hold its frame
