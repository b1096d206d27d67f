"""The fleet's patience: when a daemon is waited for, and when those who wait are told that it is no use."""

from __future__ import annotations

import trio
import trio.testing

from hermes_trio.executor.executor import open_executor
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.calls import ToolCall


def bash(command: str) -> ToolCall:
    """A call of the shell."""
    return ToolCall(name="bash", arguments={"command": command})


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
