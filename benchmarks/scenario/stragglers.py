"""One slow call beside many fast ones: do the fast ones notice?

Sixteen trajectories run ``true``; then the same beside one trajectory that runs ``sleep 5`` once. The
finding is the fast ones' p99 with the sleeper against their p99 without, in the same round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.lib.load import Lane, Load, Step
from benchmarks.lib.plan import TRUE, Plan, Point, plain_contenders
from benchmarks.lib.report import Report
from benchmarks.lib.rounds import p99_ms, ratio
from benchmarks.scenario.base import BenchOptions, Comparison, Scenario

FAST_TRAJECTORIES = 16
SLEEP_S = 5
SMOKE_SLEEP_S = 1


class Stragglers(Comparison):
    """See the module."""

    name = "stragglers"
    summary = "16 trajectories of `true`, alone and beside one `sleep 5`: p99 with against without"
    default_arms = ("ours", "ancestor")
    default_rounds = 3
    default_seconds = 6.0

    def plan(self, options: BenchOptions, arms: Sequence[str], seconds: float) -> Plan:
        """Two points: without and with the sleeper; the fast lane is what is reported."""
        count = (options.trajectories or (4 if options.smoke else FAST_TRAJECTORIES,))[0]
        nap_s = SMOKE_SLEEP_S if options.smoke else SLEEP_S
        fast = Lane(name="fast", trajectories=count, steps=(TRUE,))
        sleep = Step(tool="bash", arguments={"command": f"sleep {nap_s}"})
        sleeper = Lane(name="sleeper", trajectories=1, steps=(sleep,), calls=1)
        points = tuple(
            Point(
                labels={"trajectories": count, "sleeper": word},
                load=Load(lanes=lanes, duration_s=seconds),
                lane="fast",
            )
            for word, lanes in (("no", (fast,)), ("yes", (fast, sleeper)))
        )
        return Plan(contenders=plain_contenders(arms), points=points, baseline=arms[0])

    def findings(self, report: Report) -> Mapping[str, float | None]:
        """How many times longer the fast ones' p99 is beside the sleeper; 1 is perfect."""
        contenders = dict.fromkeys(each.contender for each in report.measurements)
        return {
            f"{name}_p99_with_to_without_sleeper": ratio(
                report.rounds_of(name, sleeper="yes"), report.rounds_of(name, sleeper="no"), p99_ms
            )
            for name in contenders
        }


def make_scenario() -> Scenario:
    """For the registry of scenarios."""
    return Stragglers()
