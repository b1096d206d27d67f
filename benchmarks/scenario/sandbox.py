"""What isolation costs, end to end: ``true`` without network, from one trajectory and from many.

Through executor, websocket and daemon into a slot, against the same bash and the same ``sh`` spawned by the
caller itself, and against the ancestor's design with a bubblewrap for each call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve
from rich.console import Console

from benchmarks.lib.plan import TRUE, Plan, Point, one_lane, plain_contenders
from benchmarks.lib.report import Report
from benchmarks.lib.rounds import calls_per_s, difference, p50_ms, ratio
from benchmarks.scenario.base import BenchOptions, Comparison, Scenario

MANY = 64
SMOKE_MANY = 4


class Sandbox(Comparison):
    """See the module."""

    name = "sandbox"
    summary = "`true` without network from 1 and 64 trajectories: above plain bash, share of plain sh"
    default_arms = ("ours", "ancestor", "plain_spawn", "sh_spawn")
    default_seconds = 2.0

    async def run(self, options: BenchOptions, console: Console) -> Report:
        """See the base class; commands never see the network.

        Cancellation: *shielded, at most 36 s* for each arm: all processes are stopped first.
        """
        return await super().run(evolve(options, allow_network=False), console)

    def plan(self, options: BenchOptions, arms: Sequence[str], seconds: float) -> Plan:
        """One trajectory for the latency, many for the rate."""
        counts = options.trajectories or (1, SMOKE_MANY if options.smoke else MANY)
        points = tuple(
            Point(labels={"trajectories": count}, load=one_lane(count, (TRUE,), seconds)) for count in counts
        )
        baseline = "plain_spawn" if "plain_spawn" in arms else arms[0]
        return Plan(contenders=plain_contenders(arms), points=points, baseline=baseline)

    def findings(self, report: Report) -> Mapping[str, float | None]:
        """Promised: at most 1.2 ms above plain, p99 at most 6 ms; at least 0.45 of sh, 4 of the ancestor."""
        counts = dict.fromkeys(each.labels["trajectories"] for each in report.measurements)
        few, many = next(iter(counts)), list(counts)[-1]
        alone, crowd = (report.rounds_of("ours", trajectories=count) for count in (few, many))
        row = next((each for each in report.measurements if each.contender == "ours"), None)
        return {
            f"ours_minus_plain_spawn_p50_ms_at_{few}": difference(
                alone, report.rounds_of("plain_spawn", trajectories=few), p50_ms
            ),
            f"ours_p99_ms_at_{few}": None if row is None else row.summary.p99_ms,
            f"ours_to_sh_spawn_calls_per_s_at_{many}": ratio(
                crowd, report.rounds_of("sh_spawn", trajectories=many), calls_per_s
            ),
            f"ours_to_ancestor_calls_per_s_at_{many}": ratio(
                crowd, report.rounds_of("ancestor", trajectories=many), calls_per_s
            ),
        }


def make_scenario() -> Scenario:
    """For the registry of scenarios."""
    return Sandbox()
