"""The batching sweep: window × batch size × concurrency, latency against throughput, the ancestor beside it.

The picture the harness is named for. A window makes every call wait for company; a packing writer takes the
company that is there. The sweep shows what each costs and brings: at one trajectory a window is pure latency,
and at many the writer packs by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

from benchmarks.arms.base import CallerSettings
from benchmarks.lib.plan import TRUE, Contender, Plan, Point, one_lane
from benchmarks.lib.plots import distinct_points, draw_line, dress_latency_axes
from benchmarks.lib.report import Measurement, Report
from benchmarks.lib.rounds import calls_per_s, p50_ms, ratio
from benchmarks.scenario.base import BenchOptions, Comparison, Scenario

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOWS_MS = (0, 5, 20)
BATCH_SIZES = (1, 16, 200)
TRAJECTORIES = (1, 4, 16, 64)
ANCESTOR_WINDOWS_MS = (0, 20)
SMOKE_SETTINGS = ((0, 200), (20, 200))


def label(arm: str, window_ms: float, batch_size: int) -> str:
    """How a setting is called: ``ours w0 b200``."""
    return f"{arm} w{window_ms:g} b{batch_size}"


def contender(arm: str, window_ms: float, batch_size: int) -> Contender:
    """An arm with a window and a batch size."""
    settings = CallerSettings(batch_window_ms=window_ms, max_batch_size=batch_size)
    return Contender(label=label(arm, window_ms, batch_size), arm=arm, settings=settings)


class Batching(Comparison):
    """See the module."""

    name = "batching"
    summary = "batch window x batch size x trajectories: latency against throughput, the ancestor beside it"
    default_arms = ("ours", "ancestor")
    default_rounds = 3
    default_seconds = 1.5

    def plan(self, options: BenchOptions, arms: Sequence[str], seconds: float) -> Plan:
        """Our own grid, and the ancestor with and without its window."""
        grid = SMOKE_SETTINGS if options.smoke else tuple(product(WINDOWS_MS, BATCH_SIZES))
        contenders = [
            contender(arm, window_ms, size)
            for arm in arms
            for window_ms, size in (grid if arm == "ours" else product(ANCESTOR_WINDOWS_MS, (200,)))
        ]
        counts = options.trajectories or ((1, 4) if options.smoke else TRAJECTORIES)
        points = tuple(
            Point(labels={"trajectories": count}, load=one_lane(count, (TRUE,), seconds)) for count in counts
        )
        baseline = label("ancestor", 20, 200) if "ancestor" in arms else contenders[0].label
        return Plan(contenders=tuple(contenders), points=points, baseline=baseline)

    def findings(self, report: Report) -> Mapping[str, float | None]:
        """What our default gains over the ancestor's, and what a window of 20 ms would cost us."""
        points = [point["trajectories"] for point in distinct_points(report.measurements)]
        found: dict[str, float | None] = {}
        for count in points:
            ours = report.rounds_of(label("ours", 0, 200), trajectories=count)
            windowed = report.rounds_of(label("ours", 20, 200), trajectories=count)
            ancestor = report.rounds_of(label("ancestor", 20, 200), trajectories=count)
            found[f"default_to_ancestor_calls_per_s_at_{count}"] = ratio(ours, ancestor, calls_per_s)
            found[f"default_to_ancestor_p50_at_{count}"] = ratio(ours, ancestor, p50_ms)
            found[f"window_20_to_0_p50_at_{count}"] = ratio(windowed, ours, p50_ms)
        return found

    def draw(self, report: Report, figure: Figure) -> None:
        """One panel a batch size; a line for each window; the ancestor in every panel, for comparison."""
        own = [row for row in report.measurements if row.contender.startswith("ours ")]
        others = [row for row in report.measurements if not row.contender.startswith("ours ")]
        sizes = list(dict.fromkeys(batch_size_of(row.contender) for row in own)) or [200]
        panels = figure.subplots(1, len(sizes), sharex=True, sharey=True, squeeze=False)[0]
        for panel, size in zip(panels, sizes, strict=True):
            rows = [row for row in own if batch_size_of(row.contender) == size]
            for style, (name, line) in enumerate([*_lines(rows).items(), *_lines(others).items()]):
                draw_line(panel, line, name, style)
            dress_latency_axes(panel)
            panel.set_title(f"batch size {size}")
            panel.legend(frameon=False, fontsize=7)
        figure.suptitle("batching: latency against throughput; the numbers are trajectories")


def batch_size_of(label_: str) -> int:
    """Reads :func:`label` back."""
    return int(label_.rpartition(" b")[2])


def _lines(rows: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    lines: dict[str, list[Measurement]] = {}
    for row in rows:
        lines.setdefault(row.contender, []).append(row)
    return lines


def make_scenario() -> Scenario:
    """For the registry of scenarios."""
    return Batching()
