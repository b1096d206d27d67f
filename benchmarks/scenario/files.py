"""File operations: 32 trajectories write 1 KB and read it back, again and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.lib.load import Step
from benchmarks.lib.plan import Plan, Point, one_lane, plain_contenders
from benchmarks.lib.report import Report
from benchmarks.lib.rounds import calls_per_s, p50_ms, ratio
from benchmarks.scenario.base import BenchOptions, Comparison, Scenario

TRAJECTORIES = 32
CONTENT = "0123456789abcdef" * 64
"""1 KB."""
STEPS = (
    Step(tool="write_file", arguments={"path": "notes/file.txt", "content": CONTENT}),
    Step(tool="read_file", arguments={"path": "notes/file.txt"}),
)


class Files(Comparison):
    """See the module."""

    name = "files"
    summary = "32 trajectories write 1 KB and read it back: calls per second against the ancestor"
    default_arms = ("ours", "ancestor")

    def plan(self, options: BenchOptions, arms: Sequence[str], seconds: float) -> Plan:
        """One point unless several numbers of trajectories are asked for."""
        counts = options.trajectories or (4 if options.smoke else TRAJECTORIES,)
        points = tuple(
            Point(labels={"trajectories": count}, load=one_lane(count, STEPS, seconds)) for count in counts
        )
        baseline = "ancestor" if "ancestor" in arms else arms[0]
        return Plan(contenders=plain_contenders(arms), points=points, baseline=baseline)

    def findings(self, report: Report) -> Mapping[str, float | None]:
        """Rate and median latency against the ancestor's."""
        ours, ancestor = report.rounds_of("ours"), report.rounds_of("ancestor")
        return {
            "ours_to_ancestor_calls_per_s": ratio(ours, ancestor, calls_per_s),
            "ours_to_ancestor_p50": ratio(ours, ancestor, p50_ms),
        }


def make_scenario() -> Scenario:
    """For the registry of scenarios."""
    return Files()
