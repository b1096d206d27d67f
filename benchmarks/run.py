"""The harness's own entrance: what ``hermes-trio bench`` calls once it has found the checkout."""

from __future__ import annotations

import sys
from pathlib import Path

import trio
from rich.console import Console

from benchmarks.lib.plots import require_matplotlib, write_plot
from benchmarks.lib.report import Report, check_report, write_report
from benchmarks.lib.tables import print_report
from benchmarks.scenario import load_scenario
from benchmarks.scenario.base import BenchOptions, Scenario


def run_benchmark(
    name: str, options: BenchOptions, *, json_path: Path | None = None, plot_path: Path | None = None
) -> Report:
    """Runs a scenario, prints its table, writes what was asked for.

    Raises:
        InvalidInputError: no such scenario or arm, or an unusable input file.
        UnavailableError: this machine lacks something that was asked for.
    """
    scenario = load_scenario(name)
    if plot_path is not None:
        require_matplotlib()
    report = trio.run(scenario.run, options, Console(stderr=True))
    check_report(report)
    print_report(report, _report_console())
    _write(scenario, report, json_path, plot_path)
    return report


def _write(scenario: Scenario, report: Report, json_path: Path | None, plot_path: Path | None) -> None:
    if json_path is not None:
        write_report(report, json_path)
    if plot_path is not None:
        write_plot(report, scenario.draw, plot_path)


def _report_console() -> Console:
    """Wide enough for every column where nobody's window sets the width."""
    return Console() if sys.stdout.isatty() else Console(width=110)
