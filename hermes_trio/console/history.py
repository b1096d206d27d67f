"""PURE. What is over: the last calls of each trajectory, and figures that do not grow."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field

from hermes_trio.console.model import LiveCall
from hermes_trio.telemetry.histogram import LogHistogram

MAX_CALLS: Final = 256
"""Of one trajectory, newest kept."""
MAX_TRAJECTORIES: Final = 2048
"""Whose calls are kept, those that were used last."""
MAX_TOOLS: Final = 64
"""Histograms by tool; the names are the model's, so there could be any number of them."""
OTHER_TOOLS: Final = "(other tools)"

PHASES: Final = ("queued", "packed", "on_the_wire", "running", "result", "whole")
"""``result`` is the way back; ``whole`` is from walking in to walking out."""


@define(eq=False)
class CallHistory:
    """The last calls of the trajectories that were seen last.

    Args:
        max_calls: of each.
        max_trajectories: of all.
    """

    max_calls: int = MAX_CALLS
    max_trajectories: int = MAX_TRAJECTORIES
    _calls: OrderedDict[str, deque[LiveCall]] = field(factory=OrderedDict, init=False)
    _forgotten: dict[str, int] = field(factory=dict, init=False)

    def add(self, call: LiveCall) -> None:
        """A call has ended."""
        calls = self._calls.get(call.trajectory)
        if calls is None:
            calls = self._calls[call.trajectory] = deque(maxlen=self.max_calls)
        if len(calls) == self.max_calls:
            self._forgotten[call.trajectory] = self._forgotten.get(call.trajectory, 0) + 1
        calls.append(call)
        self._calls.move_to_end(call.trajectory)
        if len(self._calls) > self.max_trajectories:
            gone, _ = self._calls.popitem(last=False)
            self._forgotten.pop(gone, None)

    def calls(self, trajectory: str) -> tuple[LiveCall, ...]:
        """Oldest first; empty for one that is not known any more."""
        return tuple(self._calls.get(trajectory, ()))

    def forgotten(self, trajectory: str) -> int:
        """How many of its calls were too many."""
        return self._forgotten.get(trajectory, 0)

    def find(self, trajectory: str, number: int) -> LiveCall | None:
        """One call."""
        return next((call for call in self.calls(trajectory) if call.number == number), None)


def _percentiles(histogram: LogHistogram) -> dict[str, float]:
    snapshot = histogram.snapshot()
    return {
        "n": snapshot.count,
        "p50": snapshot.percentile(50),
        "p95": snapshot.percentile(95),
        "p99": snapshot.percentile(99),
        "max": snapshot.max_s,
    }


@define(eq=False)
class Latencies:
    """How long calls take, by phase and by tool, since the console looks."""

    _phases: dict[str, LogHistogram] = field(factory=lambda: {phase: LogHistogram() for phase in PHASES})
    _tools: dict[str, LogHistogram] = field(factory=dict, init=False)
    recent: LogHistogram = field(factory=LogHistogram, init=False)
    """Whole calls since :meth:`take_recent`."""

    def record(self, call: LiveCall, *, latency_s: float) -> None:
        """A call has ended, after this long."""
        began, phases = call.entered, self._phases
        for phase, until in call.marks:
            found = phases.get(phase)
            if found is not None:
                found.record(until - began if until > began else 0.0)
            began = until
        self._phases["whole"].record(latency_s)
        self.recent.record(latency_s)
        self._tool(call.tool).record(latency_s)

    def take_recent(self) -> LogHistogram:
        """Whole calls since this was asked last."""
        recent, self.recent = self.recent, LogHistogram()
        return recent

    def to_mapping(self) -> Mapping[str, Any]:
        """JSON values only."""
        return {
            "phases": {name: _percentiles(each) for name, each in self._phases.items() if each.count},
            "tools": {name: _percentiles(each) for name, each in sorted(self._tools.items())},
        }

    def _tool(self, name: str) -> LogHistogram:
        if name not in self._tools and len(self._tools) >= MAX_TOOLS:
            name = OTHER_TOOLS
        found = self._tools.get(name)
        if found is None:
            found = self._tools[name] = LogHistogram()
        return found
