"""``POST /execute`` over HTTP, ours beside the ancestor's server: what does the HTTP face cost and bring?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from benchmarks.arms.base import CallerSettings
from benchmarks.lib.plan import TRUE, Contender, Plan, Point, one_lane, plain_contenders
from benchmarks.lib.plots import draw_latency_against_throughput
from benchmarks.lib.report import Report
from benchmarks.lib.rounds import calls_per_s, p50_ms, ratio
from benchmarks.scenario.base import BenchOptions, Comparison, Scenario

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAJECTORIES = (1, 16, 64)
NO_WINDOW = Contender(
    label="http_ancestor w0", arm="http_ancestor", settings=CallerSettings(batch_window_ms=0)
)
"""Tells how much of the ancestor's latency is its batch window, and how much its design."""


class Http(Comparison):
    """See the module."""

    name = "http"
    summary = "`POST /execute` of `true`: hermes-trio serve beside the ancestor's FastAPI server"
    default_arms = ("http_ours", "http_ancestor")

    def plan(self, options: BenchOptions, arms: Sequence[str], seconds: float) -> Plan:
        """One point for each number of connections, which is that of trajectories."""
        counts = options.trajectories or ((1, 4) if options.smoke else TRAJECTORIES)
        points = tuple(
            Point(labels={"trajectories": count}, load=one_lane(count, (TRUE,), seconds)) for count in counts
        )
        contenders = plain_contenders(arms)
        if "http_ancestor" in arms and not options.smoke:
            contenders = (*contenders, NO_WINDOW)
        baseline = "http_ancestor" if "http_ancestor" in arms else arms[0]
        return Plan(contenders=contenders, points=points, baseline=baseline)

    def findings(self, report: Report) -> Mapping[str, float | None]:
        """Ours as a share of the ancestor's, at each number of trajectories."""
        return {
            f"ours_to_{name}_{metric.__name__}_at_{count}": ratio(
                report.rounds_of("http_ours", trajectories=count),
                report.rounds_of(label, trajectories=count),
                metric,
            )
            for name, label in _others(report).items()
            for metric in (p50_ms, calls_per_s)
            for count in dict.fromkeys(each.labels["trajectories"] for each in report.measurements)
        }

    def draw(self, report: Report, figure: Figure) -> None:
        """Latency against throughput."""
        draw_latency_against_throughput(report, figure)


def _others(report: Report) -> Mapping[str, str]:
    """The ancestor by its default, and without its window where that was measured."""
    labels = {each.contender for each in report.measurements}
    return {"ancestor": "http_ancestor"} | (
        {"ancestor_without_window": NO_WINDOW.label} if NO_WINDOW.label in labels else {}
    )


def make_scenario() -> Scenario:
    """For the registry of scenarios."""
    return Http()
