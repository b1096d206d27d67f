"""The program that runs a list of commands: ``python -m benchmarks.lib.commands``.

An executor lives alone in it, so that what the watcher sees of this process is the executor's own memory. The
order comes as the first line of standard input; a line leaves after every twentieth of the work, and one with
the outcome at the end. The process ends when its input does.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator

import trio
from attrs import define, field

import hermes_trio as ht
from benchmarks.lib.children import LineReader
from benchmarks.lib.converter import from_line
from benchmarks.lib.driver import Send, take_over_stdout
from benchmarks.lib.protocol import CommandsOrder, CommandsOutcome, Reply, ReplyKind
from hermes_trio.errors import HermesTrioError, InvalidInputError, UnavailableError
from hermes_trio.telemetry import LogHistogram

POINTS = 20
"""How often it is told how far the work is: a run's memory in as many points."""


@define
class _Tally:
    """What came of the commands. Constant in size: it is measured with the executor."""

    by_provenance: Counter[str] = field(factory=Counter)
    raised: Counter[str] = field(factory=Counter)
    latency: LogHistogram = field(factory=LogHistogram)
    reset: LogHistogram = field(factory=LogHistogram)

    def outcome(self) -> CommandsOutcome:
        return CommandsOutcome(
            by_provenance=dict(self.by_provenance.most_common()),
            raised=dict(self.raised.most_common(10)),
            latency=self.latency.snapshot(),
            reset=self.reset.snapshot(),
        )


def main() -> None:
    """Serves one order; stops early when the input ends."""
    trio.run(_serve, take_over_stdout())


async def _serve(send: Send) -> None:
    reader = LineReader(trio.lowlevel.FdStream(os.dup(0)))
    line = await reader.read_line()
    if line is None:
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_with_input, reader, nursery.cancel_scope)
        send(await _answer(from_line(line, CommandsOrder), send))
        nursery.cancel_scope.cancel()


async def _answer(order: CommandsOrder, send: Send) -> Reply:
    try:
        return Reply(kind=ReplyKind.RESULT, commands=await _run(order, send))
    except (InvalidInputError, UnavailableError) as error:
        await trio.lowlevel.checkpoint()
        return Reply(kind=ReplyKind.UNAVAILABLE, text=str(error))


async def _end_with_input(reader: LineReader, scope: trio.CancelScope) -> None:
    while await reader.read_line() is not None:
        pass
    scope.cancel()


async def _run(order: CommandsOrder, send: Send) -> CommandsOutcome:
    config = ht.ExecutorConfig(allow_network=False)
    async with (
        # Never less, whatever was asked for: some of these commands remove the host they run on.
        ht.open_local_backend(slots=order.slots, isolation="required") as backend,
        ht.open_executor(backend, config=config) as executor,
    ):
        runner = _Runner(executor, order, send)
        async with trio.open_nursery() as nursery:
            for _ in range(order.slots):
                nursery.start_soon(runner.work_off)
    return runner.tally.outcome()


class _Runner:
    """As many workers as slots; each takes the next command as soon as its last one's slot is clean."""

    def __init__(self, executor: ht.Executor, order: CommandsOrder, send: Send) -> None:
        self.tally = _Tally()
        self._executor = executor
        self._limit_s = order.limit_s
        self._send = send
        self._work: Iterator[tuple[int, str]] = enumerate(order.commands * order.rounds)
        self._done = 0
        self._step = max(1, order.total // POINTS)

    async def work_off(self) -> None:
        """Takes commands until there are no more.

        Cancellation: *abandons* the call under way.
        """
        await trio.lowlevel.checkpoint()
        for number, command in self._work:
            await self._run_one(f"nl2bash-{number}", command)
            self._done += 1
            if self._done % self._step == 0:
                self._send(Reply(kind=ReplyKind.PROGRESS, done=self._done))

    async def _run_one(self, trajectory_id: str, command: str) -> None:
        started_s = time.perf_counter()
        try:
            call = ht.ToolCall(name="bash", arguments={"command": command})
            result = await self._executor.execute(trajectory_id, call, limit_s=self._limit_s)
            self.tally.by_provenance[str(result.provenance)] += 1
            ended_s = time.perf_counter()
            self.tally.latency.record(ended_s - started_s)
            await self._executor.release(trajectory_id, reset_workspace=True)
            self.tally.reset.record(time.perf_counter() - ended_s)
        except HermesTrioError as error:
            await trio.lowlevel.checkpoint()
            self.tally.raised[f"{type(error).__name__}: {error}"[:200]] += 1


if __name__ == "__main__":
    main()
