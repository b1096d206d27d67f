"""Streams that are left half-way: ended, proven, and never a burden."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from hermes_trio.errors import ClosedError
from hermes_trio.executor.executor import open_executor
from hermes_trio.testing.checkpoints import cancel_at_every_checkpoint
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import open_memory_backend
from hermes_trio.tools.calls import ToolCall, ToolResult

LONG = ToolCall("bash", {"command": "head -c 3000000 /dev/zero && sleep 5"})


async def test_a_stream_can_be_cancelled_anywhere(autojump_clock: trio.testing.MockClock) -> None:
    """Its command is over and its slot is free, whichever step the cancel strikes."""
    daemon = FakeDaemon(slots=1)
    async with open_memory_backend({"d": daemon}) as backend, open_executor(backend) as executor:

        async def read() -> None:
            async with executor.stream("t", ToolCall("bash", {"command": "echo a && sleep 1"})) as stream:
                items = [item async for item in stream]
            assert isinstance(items[-1], ToolResult)

        async def check() -> None:
            with trio.fail_after(1):
                assert (await executor.execute("t", ToolCall("bash", {"command": "true"}))).success
            assert executor.statistics().in_flight == 0

        report = await cancel_at_every_checkpoint(read, check=check)
        assert report.cancelled > 4


async def test_a_stream_survives_its_link(autojump_clock: trio.testing.MockClock) -> None:
    """Output goes on at its byte."""
    daemon = FakeDaemon(slots=1)
    async with open_memory_backend({"d": daemon}) as backend, open_executor(backend) as executor:
        size = 0
        async for item in executor.stream("t", LONG):
            if isinstance(item, ToolResult):
                assert item.metadata["stdout_bytes"] == size == 3_000_000
                continue
            assert not any(item.data)
            if size // 500_000 != (size + len(item.data)) // 500_000:
                for link in list(daemon.links):
                    link.break_link()  # type: ignore[attr-defined]
            size += len(item.data)
        assert executor.statistics().reconnects >= 3


async def test_a_stream_that_is_dropped_ends_its_call(autojump_clock: trio.testing.MockClock) -> None:
    """With a warning to whoever forgot it."""
    daemon = FakeDaemon(slots=1)
    async with open_memory_backend({"d": daemon}) as backend, open_executor(backend) as executor:
        stream = executor.stream("t", LONG)
        await anext(stream)
        assert "running" in repr(stream)
        with pytest.warns(ResourceWarning, match="was not read to its end"):
            del stream
        with trio.fail_after(1):
            assert (await executor.execute("t", ToolCall("bash", {"command": "true"}))).success


async def test_a_stream_is_over_once(autojump_clock: trio.testing.MockClock) -> None:
    """After its result there is nothing; after the executor is closed there is nothing to begin."""
    daemon = FakeDaemon(slots=1)
    async with open_memory_backend({"d": daemon}) as backend, open_executor(backend) as executor:
        stream = executor.stream("t", ToolCall("bash", {"command": "true"}))
        [result] = [item async for item in stream]
        assert isinstance(result, ToolResult)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await stream.aclose()
        late = executor.stream("t", LONG)
        quiet = await executor.quiesce("t")
        [denied] = [item async for item in executor.stream("t", LONG)]
        assert isinstance(denied, ToolResult)
        assert denied.provenance.value == "denied"
        assert repr(quiet) == "<QuietSlot of 't'>"
    with pytest.raises(ClosedError):
        await anext(late)
