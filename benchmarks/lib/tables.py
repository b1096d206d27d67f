"""Reports as tables in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmarks.lib.report import Measurement, Report
from benchmarks.lib.rounds import calls_per_s, p50_ms, p99_ms

_COLUMNS = ("calls\n/s", "p50\nms", "p95\nms", "p99\nms", "cpu\nµs", "rate\n×", "p50\n×", "p99\n×", "failed")
_SHORT = {"trajectories": "traj."}
"""Names of labels that would make a table too wide for 80 columns."""


def print_report(report: Report, console: Console) -> None:
    """One table, then the findings, then the remarks."""
    console.print(render_report(report))


def render_report(report: Report) -> Group:
    """As :func:`print_report`, for whoever prints it elsewhere."""
    parts: list[RenderableType] = []
    if report.measurements:
        parts.append(_table(report))
    if _known(report.findings):
        parts.append(_pairs("findings", _known(report.findings)))
    if report.details:
        parts.append(_pairs("details", dict(_flat(report.details))))
    parts += [Text(f"* {remark}") for remark in report.remarks]
    parts += [Text(f"PROBLEM: {problem}", style="bold red") for problem in report.problems]
    parts.append(Text(_setting(report), style="dim"))
    return Group(*parts)


def _table(report: Report) -> Table:
    points = tuple(report.measurements[0].labels)
    title = f"{report.scenario}{' (smoke: figures mean nothing)' if report.smoke else ''}"
    caption = f"× against {report.baseline}, median of the ratios within rounds; cpu: of the caller, per call"
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in points:
        table.add_column(_SHORT.get(name, name), no_wrap=True)
    table.add_column("arm", no_wrap=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for _, rows in groupby(report.measurements, key=lambda measurement: dict(measurement.labels)):
        for row in rows:
            table.add_row(*(str(value) for value in row.labels.values()), *_cells(report, row))
        table.add_section()
    return table


def _cells(report: Report, measurement: Measurement) -> Iterator[str]:
    summary = measurement.summary
    yield measurement.contender
    yield f"{summary.calls_per_s:,.0f}"
    for value in (summary.p50_ms, summary.p95_ms, summary.p99_ms):
        yield figure(value)
    yield f"{measurement.caller_cpu_us_per_call:,.0f}"
    for metric in (calls_per_s, p50_ms, p99_ms):
        yield figure(report.ratio_to_baseline(measurement, metric))
    yield str(summary.failed) if summary.failed else ""


def _pairs(title: str, pairs: Mapping[str, str]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    table.add_column("name")
    table.add_column("value", justify="right")
    for name, value in pairs.items():
        table.add_row(name, Text(value))
    return table


def _known(findings: Mapping[str, float | None]) -> dict[str, str]:
    return {name: figure(value) for name, value in findings.items() if value is not None}


def _flat(details: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested details as dotted names; histograms are in the findings and the JSON."""
    for name, value in details.items():
        match value:
            case {"scheme": _}:
                continue
            case Mapping():
                yield from _flat(value, f"{prefix}{name}.")
            case list() if not value:
                continue
            case _:
                yield f"{prefix}{name}", str(value)


def figure(value: float | None) -> str:
    """Three figures that mean something; more would be noise."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _setting(report: Report) -> str:
    environment = report.environment
    words = (
        environment.cpu_model,
        f"{environment.cores} cores",
        f"kernel {environment.kernel}",
        environment.python,
        f"revision {environment.git_revision or 'unknown'}",
        f"load {environment.load_average_1m} before the run",
    )
    return ", ".join(words)
