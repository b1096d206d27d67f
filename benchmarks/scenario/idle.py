"""Idle latency: one trajectory runs ``true``, one call after another. What is the runtime's own share?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.lib.plan import TRUE, Plan, Point, one_lane, plain_contenders
from benchmarks.lib.report import Report
from benchmarks.lib.rounds import difference, p50_ms
from benchmarks.scenario.base import BenchOptions, Comparison, Scenario


class Idle(Comparison):
    """See the module."""

    name = "idle"
    summary = "one trajectory runs `true` again and again: latency of each arm against the bare process"
    default_arms = ("ours", "ancestor", "http_per_call", "bwrap_spawn", "plain_spawn")

    def plan(self, options: BenchOptions, arms: Sequence[str], seconds: float) -> Plan:
        """One point; more only when asked for."""
        points = tuple(
            Point(labels={"trajectories": count}, load=one_lane(count, (TRUE,), seconds))
            for count in options.trajectories or (1,)
        )
        baseline = "plain_spawn" if "plain_spawn" in arms else arms[0]
        return Plan(contenders=plain_contenders(arms), points=points, baseline=baseline)

    def findings(self, report: Report) -> Mapping[str, float | None]:
        """How much the road through executor, wire and daemon adds to the same command spawned directly."""
        return {
            f"ours_minus_{arm}_p50_ms": difference(report.rounds_of("ours"), report.rounds_of(arm), p50_ms)
            for arm in ("bwrap_spawn", "plain_spawn", "ancestor")
        }


def make_scenario() -> Scenario:
    """For the registry of scenarios."""
    return Idle()
