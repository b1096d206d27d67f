"""The harness's end of the driver processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import trio
from attrs import frozen

from benchmarks.arms.base import ArmOptions, CallerSettings
from benchmarks.lib.children import Child, open_child
from benchmarks.lib.converter import from_line, to_line
from benchmarks.lib.load import Load, LoadResult
from benchmarks.lib.protocol import Reply, ReplyKind, RunRequest
from hermes_trio.errors import LostError, TooSlowError

OPEN_S = 60.0
"""For a server side to come up: some hundred slots on a busy machine."""
ANSWER_SLACK_S = 60.0
"""On top of a load's duration and its longest call: warming up, and slots that are reset before it."""


class Driver:
    """One arm in a process of its own."""

    def __init__(self, arm: str, child: Child) -> None:
        self.arm = arm
        self._child = child

    def __repr__(self) -> str:
        return f"<Driver {self.arm} {self._child!r}>"

    async def wait_ready(self) -> str | None:
        """Waits for the server side.

        Cancellation: *atomic*.

        Returns:
            ``None`` when it serves, else the sentence why it cannot run on this machine.
        """
        reply = await self._reply(within_s=OPEN_S)
        return reply.text if reply.kind is ReplyKind.UNAVAILABLE else None

    async def run(self, load: Load, settings: CallerSettings) -> LoadResult:
        """Runs a load to its end.

        Cancellation: *poisons*: the driver still works on the load; close it.

        Raises:
            LostError: the process ended, or answered something else.
            TooSlowError: no answer within the load's own bounds.
        """
        await self._child.write_line(to_line(RunRequest(load=load, settings=settings)))
        reply = await self._reply(within_s=load.duration_s + load.longest_call_s + ANSWER_SLACK_S)
        if reply.result is None:
            raise LostError(f"arm {self.arm} answered {reply.kind}: {reply.text}")
        return reply.result

    async def _reply(self, *, within_s: float) -> Reply:
        with trio.move_on_after(within_s):
            return from_line(await self._child.read_line(), Reply)
        raise TooSlowError(f"arm {self.arm} did not answer within {within_s:g} s")


@asynccontextmanager
async def open_driver(arm: str, options: ArmOptions) -> AsyncIterator[Driver]:
    """Starts the arm's process; :meth:`Driver.wait_ready` tells when it serves.

    Cancellation: *shielded, at most 36 s*: the process is stopped before the block is left.
    """
    async with open_child("benchmarks.lib.driver", [arm, to_line(options).decode()]) as child:
        yield Driver(arm, child)


@frozen(kw_only=True)
class OpenDrivers:
    """Those that serve, and why the others do not."""

    drivers: Mapping[str, Driver]
    unavailable: Mapping[str, str]


@asynccontextmanager
async def open_drivers(arms: Sequence[str], options: ArmOptions) -> AsyncIterator[OpenDrivers]:
    """Starts all arms at once and waits until each serves or says that it cannot.

    Cancellation: *shielded, at most 36 s* for each: the processes are stopped before the block is left.
    """
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(open_driver(arm, options)) for arm in arms]
        reasons = {driver.arm: await driver.wait_ready() for driver in started}
        yield OpenDrivers(
            drivers={driver.arm: driver for driver in started if reasons[driver.arm] is None},
            unavailable={arm: reason for arm, reason in reasons.items() if reason is not None},
        )
