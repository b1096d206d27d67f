"""What telling costs: a listener on the event bus, and traces, beside the same calls with neither.

``python -m benchmarks.micro.telemetry [--smoke] [--json FILE]``, twice over: with the daemon in memory, where
one process does everything and its processor time for each call is told to the microsecond; then with real
sandboxes, for the throughput and for what a call costs in all. Each round has a slice of every arm, in an
order that turns, and arms are compared within rounds, because a shared machine drifts.

* ``silent``: nobody listens, no SDK: the API's spans of nothing are in it, as they are for everybody.
* ``listened``: one listener takes every event, 50 ms after the first of them, as the console does.
* ``eager``: one listener is woken for each event.
* ``unsampled``: the SDK is there and samples nothing; the daemon goes by what it is told.
* ``traced``: every span is recorded and written as JSON, to nowhere, here and in the daemon.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import trio
from attrs import asdict, define, field, frozen
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from benchmarks.lib.environment import capture_environment
from benchmarks.lib.processes import descendants, list_processes
from hermes_trio.backends.local import open_local_backend
from hermes_trio.errors import Provenance
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.telemetry.bus import EventBus
from hermes_trio.telemetry.events import CallEnded, CallOnTheWire, CallPacked, CallQueued
from hermes_trio.telemetry.exporting import line_exporter
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.testing.spans import traced_by
from hermes_trio.tools.calls import ToolCall

TRAJECTORIES = 8
LINGER_S = 0.05
FINER = {"in_memory": 10}
"""Slices into which one of a round is cut where that is possible: the shorter, the likelier undisturbed."""
ROUNDS, SECONDS = 12, 3.0
ARMS = ("silent", "listened", "eager", "unsampled", "traced")
SAMPLERS = {"unsampled": ALWAYS_OFF, "traced": ALWAYS_ON}
TRUE = ToolCall("bash", {"command": "true"})
_TICKS = os.sysconf("SC_CLK_TCK")


@frozen(kw_only=True)
class Slice:
    """One arm in one round."""

    calls_per_s: float
    executor_us: float
    """Processor time of the executor's process for each call."""
    machine_us: float
    """The same with the daemon's, and that of everything in the slots."""


@define
class Tally:
    """All of them."""

    slices: dict[str, list[Slice]] = field(factory=lambda: {name: [] for name in ARMS})
    events: int = 0

    def findings(self) -> dict[str, float]:
        """Medians over rounds; what differs from ``silent`` is the median of what differs within rounds."""
        found: dict[str, float] = {"events_per_call": self.events}
        for name, slices in self.slices.items():
            for figure in ("calls_per_s", "executor_us", "machine_us"):
                found[f"{name}_{figure}"] = median(getattr(each, figure) for each in slices)
        for name in ARMS[1:]:
            found |= self._beside_silent(name)
        return {name: round(value, 2) for name, value in found.items()}

    def to_mapping(self) -> dict[str, Any]:
        """With every slice: calls a second, and processor time for each, of executor and of all."""
        slices = {
            name: [[round(s.calls_per_s, 1), round(s.executor_us, 1), round(s.machine_us, 1)] for s in each]
            for name, each in self.slices.items()
        }
        return {"findings": self.findings(), "slices": slices}

    def _beside_silent(self, name: str) -> dict[str, float]:
        pairs = list(zip(self.slices["silent"], self.slices[name], strict=True))
        more_us = sorted(other.executor_us - silent.executor_us for silent, other in pairs)
        slower = median(1 - other.calls_per_s / silent.calls_per_s for silent, other in pairs)
        low, high = _interval_of_median(more_us)
        return {
            f"{name}_executor_us_more": median(more_us),
            f"{name}_executor_us_more_low": low,
            f"{name}_executor_us_more_high": high,
            f"{name}_throughput_lost_percent": slower * 100,
        }


def _interval_of_median(ordered: Sequence[float]) -> tuple[float, float]:
    """Where the median lies with 90 % certainty: order statistics, by the normal approximation."""
    middle, reach = len(ordered) / 2, 0.82 * len(ordered) ** 0.5
    first, last = max(0, int(middle - reach)), min(len(ordered) - 1, int(middle + reach))
    return ordered[first], ordered[last]


@frozen(kw_only=True)
class Arm:
    """An executor with a daemon of its own, and what goes on meanwhile."""

    executor: Executor
    daemon_pid: int | None = None
    """``None``: the daemon is in this process."""
    tracing: Callable[[], AbstractContextManager[object]] = nullcontext
    linger_s: float | None = None
    """Of a listener; ``None``: there is none."""


async def measure(arm: Arm, *, seconds: float, trajectories: int) -> tuple[Slice, int]:
    """One slice; and how many events were heard.

    Cancellation: abandons.
    """
    counts = [0] * trajectories
    heard = [0]
    with arm.tracing():
        async with trio.open_nursery() as nursery:
            if arm.linger_s is not None:
                await nursery.start(_listen, arm.executor, heard, arm.linger_s)
            cpu, below, began = time.process_time(), _below_s(arm), time.perf_counter()
            async with trio.open_nursery() as lanes:
                for lane in range(trajectories):
                    lanes.start_soon(_lane, arm.executor, lane, counts, began + seconds)
            calls, took = sum(counts), time.perf_counter() - began
            cpu, below = time.process_time() - cpu, _below_s(arm) - below
            nursery.cancel_scope.cancel()
    figures = Slice(
        calls_per_s=calls / took, executor_us=cpu / calls * 1e6, machine_us=(cpu + below) / calls * 1e6
    )
    return figures, heard[0] // calls


async def _lane(executor: Executor, lane: int, counts: list[int], until: float) -> None:
    await trio.lowlevel.checkpoint()
    while time.perf_counter() < until:
        result = await executor.execute(f"t-{lane}", TRUE)
        assert result.success, result
        counts[lane] += 1


async def _listen(
    executor: Executor, heard: list[int], linger_s: float, *, task_status: trio.TaskStatus[None]
) -> None:
    async with executor.events() as events:
        task_status.started()
        while True:
            heard[0] += len(await events.receive_some(linger_s=linger_s))


def _below_s(arm: Arm) -> float:
    """Processor time of the daemon and of what lives below it, with the dead that they have waited for."""
    if arm.daemon_pid is None:
        return 0.0
    below = descendants(arm.daemon_pid, list_processes())
    return sum(_spent_s(pid) for pid in (arm.daemon_pid, *(each.pid for each in below)))


def _spent_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # ended meanwhile
    return sum(map(int, fields[11:15])) / _TICKS


@contextmanager
def _recording(provider: TracerProvider) -> Iterator[None]:
    with traced_by(provider):
        yield
    provider.force_flush()


def _traced(stack: AsyncExitStack, sampler: Sampler, **executor: Any) -> Arm:
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(line_exporter(os.devnull)))
    stack.callback(provider.shutdown)
    return Arm(**executor, tracing=lambda: _recording(provider))


def publishing_us(count: int = 1000, rounds: int = 50) -> float:
    """A call's events: made, told, and taken by one listener. Microseconds, of the least disturbed round."""
    bus, best = EventBus(clock=time.monotonic), float("inf")
    with bus.subscribed() as listener:
        for _ in range(rounds):
            began = time.process_time()
            for number in range(count):
                _tell_of_a_call(bus, number)
                if number % 50 == 0:
                    listener.take_nowait()
            best = min(best, time.process_time() - began)
    return best / count * 1e6


def _tell_of_a_call(bus: EventBus, call: int) -> None:
    queued = {"tool": "bash", "uniq_id": "u-1", "limit_s": 30.0, "slot_bound": True, "summary": "true"}
    times = {"latency_s": 0.01, "queue_s": 0.005, "run_s": 0.002}
    bus.publish(CallQueued(call=call, trajectory="t-1", **queued))  # type: ignore[arg-type]
    bus.publish(CallPacked(call=call, daemon="local-0", slot="slot_0"))
    bus.publish(CallOnTheWire(call=call))
    ended = {"provenance": Provenance.OK, "success": True, "output_bytes": 0}
    bus.publish(CallEnded(call=call, trajectory="t-1", tool="bash", **times, **ended))  # type: ignore[arg-type]


@asynccontextmanager
async def arms_in_memory(trajectories: int) -> AsyncIterator[dict[str, Arm]]:
    """One executor and one daemon for all of them."""
    backend = MemoryBackend({"d": FakeDaemon(slots=trajectories)})
    async with AsyncExitStack() as stack, open_executor(backend) as executor:
        yield {
            "silent": Arm(executor=executor),
            "listened": Arm(executor=executor, linger_s=LINGER_S),
            "eager": Arm(executor=executor, linger_s=0.0),
            **{name: _traced(stack, sampler, executor=executor) for name, sampler in SAMPLERS.items()},
        }


@asynccontextmanager
async def arms_with_sandboxes(trajectories: int) -> AsyncIterator[dict[str, Arm]]:
    """Each of them after its first calls; daemons of their own for those that are traced."""
    async with AsyncExitStack() as stack:
        plain = await _open_executor(stack, trajectories)
        listening = {"listened": Arm(**plain, linger_s=LINGER_S), "eager": Arm(**plain, linger_s=0.0)}
        arms = {"silent": Arm(**plain), **listening}
        for name, sampler in SAMPLERS.items():
            daemon = await _open_executor(stack, trajectories, "--traces", os.devnull)
            arms[name] = _traced(stack, sampler, **daemon)
        for arm in arms.values():
            await measure(arm, seconds=0.5, trajectories=trajectories)
        yield arms


async def _open_executor(stack: AsyncExitStack, slots: int, *options: str) -> dict[str, Any]:
    before = set(_children())
    backend = await stack.enter_async_context(open_local_backend(slots=slots, daemon_options=options))
    (pid,) = set(_children()) - before
    executor = await stack.enter_async_context(open_executor(backend))
    return {"executor": executor, "daemon_pid": pid}


def _children() -> list[int]:
    own = Path("/proc/self/task")
    return [int(pid) for task in own.iterdir() for pid in (task / "children").read_text().split()]


async def run(where: str, *, rounds: int, seconds: float, trajectories: int) -> Tally:
    """All rounds in one place, see :data:`PLACES`.

    Cancellation: poisons.
    """
    tally = Tally()
    async with PLACES[where](trajectories) as arms:
        for number in range(rounds):
            turn = number % len(ARMS)
            for name in ARMS[turn:] + ARMS[:turn]:
                figures, events = await measure(arms[name], seconds=seconds, trajectories=trajectories)
                tally.slices[name].append(figures)
                tally.events = max(tally.events, events)
    return tally


PLACES = {"in_memory": arms_in_memory, "with_sandboxes": arms_with_sandboxes}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the findings, and keeps them where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro.telemetry", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="to see that it works; figures mean nothing")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each slice")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep them, with every slice")
    options = parser.parse_args(arguments)
    rounds, seconds = (1, 0.3) if options.smoke else (options.rounds, options.seconds)
    trajectories = 2 if options.smoke else TRAJECTORIES

    parameters = {"rounds": rounds, "seconds": seconds, "trajectories": trajectories}
    document: dict[str, Any] = {
        "name": "telemetry",
        "environment": asdict(capture_environment()),
        "parameters": parameters,
    }
    document["events_of_a_call_us"] = round(publishing_us(), 2)
    print(f"{'events_of_a_call_us':40} {document['events_of_a_call_us']:10.2f}")
    for where in PLACES:
        finer = FINER.get(where, 1)
        measuring = partial(
            run, where, rounds=rounds * finer, seconds=seconds / finer, trajectories=trajectories
        )
        tally = trio.run(measuring)
        document[where] = tally.to_mapping()
        print(f"--- {where}")
        for name, value in tally.findings().items():
            print(f"{name:40} {value:10.2f}")
    if options.json is not None:
        options.json.write_text(json.dumps(document) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
