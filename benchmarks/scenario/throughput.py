"""Closed-loop throughput of ``true`` over 1 to 256 trajectories: how much of the machine is left?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from benchmarks.lib.plan import TRUE, Plan, Point, one_lane, plain_contenders
from benchmarks.lib.plots import draw_latency_against_throughput
from benchmarks.lib.report import Report
from benchmarks.lib.rounds import calls_per_s, ratio
from benchmarks.scenario.base import BenchOptions, Comparison, Scenario

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAJECTORIES = (1, 4, 16, 64, 256)


class Throughput(Comparison):
    """See the module."""

    name = "throughput"
    summary = "closed loop of `true` over 1 to 256 trajectories: calls per second and latency of each arm"
    default_arms = ("ours", "ancestor", "http_per_call", "bwrap_spawn", "plain_spawn")
    default_rounds = 3

    def plan(self, options: BenchOptions, arms: Sequence[str], seconds: float) -> Plan:
        """One point for each number of trajectories."""
        counts = options.trajectories or ((1, 4) if options.smoke else TRAJECTORIES)
        points = tuple(
            Point(labels={"trajectories": count}, load=one_lane(count, (TRUE,), seconds)) for count in counts
        )
        baseline = "ancestor" if "ancestor" in arms else arms[0]
        return Plan(contenders=plain_contenders(arms), points=points, baseline=baseline)

    def findings(self, report: Report) -> Mapping[str, float | None]:
        """Our rate against each other arm's, at each number of trajectories."""
        return {
            f"ours_to_{other}_calls_per_s_at_{count}": ratio(
                report.rounds_of("ours", trajectories=count),
                report.rounds_of(other, trajectories=count),
                calls_per_s,
            )
            for other in ("ancestor", "plain_spawn")
            for count in dict.fromkeys(each.labels["trajectories"] for each in report.measurements)
        }

    def draw(self, report: Report, figure: Figure) -> None:
        """Latency against throughput."""
        draw_latency_against_throughput(report, figure)


def make_scenario() -> Scenario:
    """For the registry of scenarios."""
    return Throughput()
