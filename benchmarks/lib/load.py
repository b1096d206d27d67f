"""What is asked of an arm, and what it answered. PURE; shared by the Trio and the asyncio load generators.

Theory of operation. A load is *closed loop*: each trajectory has one call under way, and the next starts
when it ends, as an agent would. Latency is therefore what one agent waits, and throughput what the agents
together get; neither hides the other. A :class:`LaneClock` decides and counts, the generators of both event
loops only ask it, so that arms on different loops are measured by the same code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from hermes_trio.telemetry import HistogramSnapshot, LogHistogram


@frozen(kw_only=True)
class Step:
    """One call as an agent would make it."""

    tool: str
    arguments: Mapping[str, Any]
    limit_s: float = 30.0


WARM_UP = Step(tool="bash", arguments={"command": "true"})
"""Before the clock starts, each trajectory makes this call once: slots are taken, connections open."""


@frozen(kw_only=True)
class Lane:
    """Trajectories that all do the same.

    Attributes:
        name: distinguishes lanes within a load; also the stem of the trajectory ids.
        trajectories: how many run at once.
        steps: made in this order, again and again.
        calls: how many calls each trajectory makes; ``None``: until the load's duration is over.
    """

    name: str
    trajectories: int
    steps: tuple[Step, ...]
    calls: int | None = None

    def trajectory_ids(self) -> tuple[str, ...]:
        """The same in every round, so that an arm keeps its slots between rounds."""
        return tuple(f"{self.name}-{index}" for index in range(self.trajectories))


@frozen(kw_only=True)
class Load:
    """Lanes that run side by side for ``duration_s``. Calls under way at its end are waited for."""

    lanes: tuple[Lane, ...]
    duration_s: float

    @property
    def trajectories(self) -> int:
        """How many slots it takes."""
        return sum(lane.trajectories for lane in self.lanes)

    @property
    def longest_call_s(self) -> float:
        """The highest limit of any call in it; bounds how long its end can take."""
        return max(step.limit_s for lane in self.lanes for step in lane.steps)


@frozen(kw_only=True)
class CallOutcome:
    """What an arm says about one call. ``reason`` groups failures; it is empty when ``ok``."""

    ok: bool
    reason: str = ""


@frozen(kw_only=True)
class LaneResult:
    """One lane of one run. ``calls`` counts all that ended; latencies include those of failed calls."""

    lane: str
    calls: int
    failures: Mapping[str, int] = field(factory=dict)
    wall_s: float
    """From the common start to the end of the lane's last call."""
    latency: HistogramSnapshot

    @property
    def calls_per_s(self) -> float:
        """Calls that ended in a second of wall time."""
        return self.calls / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def failed(self) -> int:
        """How many calls failed, for whatever reason."""
        return sum(self.failures.values())


@frozen(kw_only=True)
class LoadResult:
    """One run of a load. ``caller_cpu_s``: processor time of the calling process alone, servers excluded."""

    lanes: tuple[LaneResult, ...]
    caller_cpu_s: float


class LaneClock:
    """Decides what a lane's trajectories do next, and counts what came of it."""

    def __init__(self, lane: Lane, *, start_s: float, duration_s: float) -> None:
        self._lane = lane
        self._start_s = start_s
        self._stop_s = start_s + duration_s
        self._end_s = start_s
        self._latency = LogHistogram()
        self._failures: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<LaneClock {self._lane.name} calls={self._latency.count} failed={self._failures.total()}>"

    def next_step(self, made: int, now_s: float) -> Step | None:
        """The call of a trajectory that has made ``made`` calls; ``None`` when it is done."""
        limit = self._lane.calls
        done = now_s >= self._stop_s if limit is None else made >= limit
        return None if done else self._lane.steps[made % len(self._lane.steps)]

    def record(self, started_s: float, ended_s: float, outcome: CallOutcome) -> None:
        """Counts one call that has ended."""
        self._latency.record(ended_s - started_s)
        self._end_s = max(self._end_s, ended_s)
        if not outcome.ok:
            self._failures[outcome.reason] += 1

    def result(self) -> LaneResult:
        """Everything so far."""
        return LaneResult(
            lane=self._lane.name,
            calls=self._latency.count,
            failures=dict(self._failures),
            wall_s=self._end_s - self._start_s,
            latency=self._latency.snapshot(),
        )


def describe_crash(error: Exception) -> CallOutcome:
    """An arm that raised instead of answering: the class says enough to group by, the text is kept short."""
    return CallOutcome(ok=False, reason=f"raised {type(error).__name__}: {error}"[:200])
