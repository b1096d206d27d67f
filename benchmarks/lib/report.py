"""The result of a scenario: what is printed, drawn, and written as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from attrs import field, frozen

from benchmarks.lib.converter import from_mapping, to_mapping
from benchmarks.lib.environment import Environment
from benchmarks.lib.load import LaneResult
from benchmarks.lib.plan import Label
from benchmarks.lib.rounds import Metric, Summary, ratio, summarise

SCHEMA = "hermes-trio-bench/1"


@frozen(kw_only=True)
class Measurement:
    """One contender at one point, over all rounds."""

    labels: Mapping[str, Label]
    contender: str
    rounds: tuple[LaneResult, ...]
    caller_cpu_us_per_call: float
    """Processor time of the caller's process; servers excluded."""
    summary: Summary


@frozen(kw_only=True)
class Report:
    """Everything there is to know about one run of a scenario.

    Attributes:
        parameters: what the run was asked for.
        measurements: by point, then by contender.
        findings: the figures that the scenario exists for, by name; ``None`` where they could not be had.
        details: of scenarios that are no comparison of contenders (``nl2bash``).
        remarks: sentences for people: arms left out, what to read with care.
        problems: sentences that say what went wrong; with any of them the run counts as failed.
    """

    schema: str = SCHEMA
    scenario: str
    smoke: bool
    environment: Environment
    parameters: Mapping[str, Any]
    baseline: str = ""
    measurements: tuple[Measurement, ...] = ()
    findings: Mapping[str, float | None] = field(factory=dict)
    details: Mapping[str, Any] = field(factory=dict)
    remarks: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def rounds_of(self, contender: str, **labels: Label) -> tuple[LaneResult, ...]:
        """The rounds of one contender at the first point that has these labels; empty when there are none."""
        for measurement in self.measurements:
            if measurement.contender == contender and labels.items() <= dict(measurement.labels).items():
                return measurement.rounds
        return ()

    def ratio_to_baseline(self, measurement: Measurement, metric: Metric) -> float | None:
        """Median over rounds against the baseline at the same point."""
        return ratio(measurement.rounds, self.rounds_of(self.baseline, **measurement.labels), metric)


def measured(
    labels: Mapping[str, Label], contender: str, rounds: Sequence[LaneResult], cpu_s: float
) -> Measurement:
    """Adds up what was measured of one contender at one point."""
    summary = summarise(rounds)
    return Measurement(
        labels=labels,
        contender=contender,
        rounds=tuple(rounds),
        caller_cpu_us_per_call=cpu_s / summary.calls * 1e6 if summary.calls else 0.0,
        summary=summary,
    )


def write_report(report: Report, path: Path) -> None:
    """Writes it as JSON; stable order and two spaces, so that two runs can be compared as text."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    path.write_bytes(orjson.dumps(to_mapping(report), option=options))


def read_report(path: Path) -> Report:
    """Reads what :func:`write_report` wrote, strictly: unknown fields are an error."""
    return from_mapping(orjson.loads(path.read_bytes()), Report)


def check_report(report: Report) -> None:
    """What every report must hold, whatever its figures: a smoke run asserts this and nothing about time.

    Raises:
        ValueError: with a sentence that names what is wrong.
    """
    if report.schema != SCHEMA:
        raise ValueError(f"schema is {report.schema!r}, not {SCHEMA!r}")
    if not report.measurements and not report.details:
        raise ValueError("nothing was measured")
    for measurement in report.measurements:
        _check_measurement(measurement)
    if from_mapping(orjson.loads(orjson.dumps(to_mapping(report))), Report) != report:
        raise ValueError("it does not survive being written and read")


def _check_measurement(measurement: Measurement) -> None:
    where = f"{measurement.contender} at {dict(measurement.labels)}"
    for result in measurement.rounds:
        if result.calls < 1 or result.wall_s <= 0:
            raise ValueError(f"{where}: a round without calls")
        if result.latency.count != result.calls or result.failed > result.calls:
            raise ValueError(f"{where}: calls, latencies and failures do not add up")
    summary = measurement.summary
    if not 0 < summary.p50_ms <= summary.p95_ms <= summary.p99_ms <= summary.max_ms:
        raise ValueError(f"{where}: percentiles out of order")
    if summary != summarise(measurement.rounds):
        raise ValueError(f"{where}: the summary is not that of its rounds")
