"""Reports as pictures: SVG for documents, PNG for the rest. Matplotlib is loaded only here, on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.lib.report import Measurement, Report
from hermes_trio.errors import UnavailableError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Draw = Callable[[Report, "Figure"], None]
FORMATS = ("svg", "png")

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
"""Okabe and Ito's palette: told apart by everybody, in print too."""
_MARKERS = "osD^vP*X"


def require_matplotlib() -> None:
    """Asked before anything is measured, not after.

    Raises:
        UnavailableError: it is not installed; the text names the command that installs it.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        mend = "Install it: pip install 'hermes-trio[bench]'."
        raise UnavailableError("plots need matplotlib, which is not installed.", mend=mend) from error


def plot_paths(path: Path) -> tuple[Path, ...]:
    """A name that ends in ``.svg`` or ``.png`` is that one file; any other name stands for both."""
    if path.suffix.lower().lstrip(".") in FORMATS:
        return (path,)
    return tuple(path.with_name(f"{path.name}.{suffix}") for suffix in FORMATS)


def write_plot(report: Report, draw: Draw, path: Path) -> tuple[Path, ...]:
    """Draws the report and writes it; returns the files.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    paths = plot_paths(path)
    # A fixed salt and no date: the same figures give the same file.
    with mpl.rc_context({"svg.hashsalt": "hermes-trio", "font.size": 9, "axes.spines.top": False}):
        figure = Figure(figsize=(9, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        draw(report, figure)
        for each in paths:
            metadata: dict[str, Any] = {"Date": None} if each.suffix == ".svg" else {}
            figure.savefig(each, dpi=120, metadata=metadata)
    return paths


def draw_bars(report: Report, figure: Figure) -> None:
    """Percentiles of every contender side by side, one panel a point."""
    points = distinct_points(report.measurements)
    panels = figure.subplots(1, len(points), sharey=True, squeeze=False)[0]
    for panel, labels in zip(panels, points, strict=True):
        rows = [each for each in report.measurements if dict(each.labels) == labels]
        _bars(panel, rows)
        panel.set_title(", ".join(f"{name} {value}" for name, value in labels.items()))
    # The panels share their axis, which follows the last one drawn unless it is told.
    summaries = [each.summary for each in report.measurements]
    panels[0].set_ylim(
        0.5 * min(each.p50_ms for each in summaries), 1.5 * max(each.p99_ms for each in summaries)
    )
    panels[0].set_ylabel("latency, ms (log)")
    panels[0].legend(frameon=False)
    figure.suptitle(report.scenario)


def _bars(axes: Axes, rows: Sequence[Measurement]) -> None:
    names = ("p50", "p95", "p99")
    for offset, name in enumerate(names):
        heights = [getattr(row.summary, f"{name}_ms") for row in rows]
        places = [index + (offset - 1) * 0.27 for index in range(len(rows))]
        axes.bar(places, heights, width=0.25, label=name, color=_COLOURS[offset])
    axes.set_xticks(range(len(rows)), [row.contender for row in rows], rotation=20)
    axes.set_yscale("log")
    _plain_numbers(axes.yaxis)


def draw_latency_against_throughput(report: Report, figure: Figure) -> None:
    """One line a contender, one marker a number of trajectories: to the right is faster, down is sooner."""
    axes = figure.subplots()
    contenders = list(dict.fromkeys(each.contender for each in report.measurements))
    for index, contender in enumerate(contenders):
        rows = [each for each in report.measurements if each.contender == contender]
        draw_line(axes, rows, contender, index)
    dress_latency_axes(axes)
    axes.set_title(f"{report.scenario}: latency against throughput")
    axes.legend(frameon=False)


def draw_line(axes: Axes, rows: Sequence[Measurement], label: str, style: int) -> None:
    """A contender's median latency over its throughput; thin line: its 99th percentile."""
    colour, marker = _COLOURS[style % len(_COLOURS)], _MARKERS[style % len(_MARKERS)]
    rates = [row.summary.calls_per_s for row in rows]
    middles = [row.summary.p50_ms for row in rows]
    axes.plot(rates, middles, color=colour, marker=marker, label=label)
    axes.plot(rates, [row.summary.p99_ms for row in rows], color=colour, linewidth=0.6, linestyle=":")
    for row, rate, middle in zip(rows, rates, middles, strict=True):
        text = str(row.labels.get("trajectories", ""))
        axes.annotate(text, (rate, middle), fontsize=6, xytext=(3, -8), textcoords="offset points")


def dress_latency_axes(axes: Axes) -> None:
    """Log scales and names, the same in every picture of this kind."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    _plain_numbers(axes.xaxis)
    _plain_numbers(axes.yaxis)
    axes.set_xlabel("throughput, calls/s (log)")
    axes.set_ylabel("latency, ms (log): p50, dotted p99")
    axes.grid(visible=True, which="both", alpha=0.2)


def draw_findings(report: Report, figure: Figure) -> None:
    """Each finding as a bar with its figure beside it, for scenarios that compare nothing."""
    axes = figure.subplots()
    known = [(name, value) for name, value in report.findings.items() if value is not None]
    names, values = [name for name, _ in known], [value for _, value in known]
    bars = axes.barh(range(len(known)), values, color=_COLOURS[0])
    axes.bar_label(bars, labels=[f"{value:,.3g}" for value in values], padding=3)
    axes.set_yticks(range(len(known)), names)
    axes.invert_yaxis()
    axes.set_xscale("symlog")
    axes.set_title(report.scenario)


def _plain_numbers(axis: Axis) -> None:
    """1, 2, 5 of each decade as plain numbers: the default writes powers over one another."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def distinct_points(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """The labels of each point once, in order."""
    points: list[dict[str, Any]] = []
    for measurement in measurements:
        labels = dict(measurement.labels)
        if labels not in points:
            points.append(labels)
    return points
