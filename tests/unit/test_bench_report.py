"""Reports: checked for form, written and read strictly, rendered without a terminal."""

from __future__ import annotations

import io
import socket
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest
from attrs import evolve
from rich.console import Console

from benchmarks.lib.environment import Environment, capture_environment
from benchmarks.lib.load import LaneResult
from benchmarks.lib.plan import Label
from benchmarks.lib.plots import plot_paths
from benchmarks.lib.report import Measurement, Report, check_report, measured, read_report, write_report
from benchmarks.lib.rounds import p50_ms
from benchmarks.lib.tables import figure, print_report
from hermes_trio.telemetry import LogHistogram

ENVIRONMENT = Environment(
    taken_at="2026-01-01T00:00:00+00:00",
    cpu_model="a cpu",
    cores=2,
    memory_bytes=1,
    kernel="6",
    system="a system",
    python="CPython 3.11",
    versions={"trio": "0.30"},
    git_revision="",
    load_average_1m=0.5,
    root=False,
)


def lane(latency_s: float, calls: int = 10) -> LaneResult:
    """A round of equal calls."""
    histogram = LogHistogram()
    for _ in range(calls):
        histogram.record(latency_s)
    return LaneResult(lane="all", calls=calls, failures={}, wall_s=1.0, latency=histogram.snapshot())


def report(**changes: object) -> Report:
    """Two contenders at two points."""
    points: tuple[Mapping[str, Label], ...] = ({"trajectories": 1}, {"trajectories": 4})
    return evolve(
        Report(
            scenario="idle",
            smoke=False,
            environment=ENVIRONMENT,
            parameters={"rounds": 2},
            baseline="theirs",
            measurements=tuple(
                measured(point, name, (lane(latency_s), lane(latency_s)), 0.001)
                for point in points
                for name, latency_s in (("ours", 0.001), ("theirs", 0.004))
            ),
            findings={"ours_to_theirs": 0.25, "unknown": None},
            remarks=("arm other was left out: it is not here",),
        ),
        **changes,
    )


def broken(**changes: object) -> Report:
    """A report whose first measurement was tampered with."""
    first, *others = report().measurements
    return report(measurements=(evolve(first, **changes), *others))


def test_a_report_survives_being_written_and_read(tmp_path: Path) -> None:
    """What is read back is equal, histograms included."""
    write_report(report(), tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == report()


def test_an_unknown_field_in_a_stored_report_is_an_error(tmp_path: Path) -> None:
    """A report of another version must not be half understood."""
    path = tmp_path / "report.json"
    write_report(report(), path)
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "mood": "good"}))
    with pytest.raises(ValueError, match="mood"):
        read_report(path)


def test_a_sound_report_passes_its_check() -> None:
    """The check is what a smoke run asserts."""
    check_report(report())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (report(schema="other/1"), "schema"),
        (report(measurements=()), "nothing was measured"),
        (broken(rounds=(lane(0.001, calls=0),)), "without calls"),
        (broken(rounds=(evolve(lane(0.001), calls=3),)), "add up"),
        (broken(rounds=(lane(0.5),)), "not that of its rounds"),
        (broken(summary=evolve(report().measurements[0].summary, p95_ms=99.0)), "out of order"),
        (broken(labels={"trajectories": (1, 2)}), "trajectories"),
        (report(details={"pair": (1, 2)}), "survive"),
    ],
)
def test_a_report_that_cannot_be_true_is_refused(wrong: Report, message: str) -> None:
    """Each with a sentence that names what is wrong."""
    with pytest.raises(ValueError, match=message):
        check_report(wrong)


def test_rounds_are_found_by_contender_and_point() -> None:
    """The first point is meant when none is named; who is absent has no rounds."""
    assert p50_ms(report().rounds_of("theirs", trajectories=4)[0]) == pytest.approx(4, rel=0.02)
    assert report().rounds_of("ours") == report().measurements[0].rounds
    assert report().rounds_of("nobody") == ()
    assert report().rounds_of("ours", trajectories=99) == ()


def test_cpu_is_per_call() -> None:
    """20 calls in two rounds, one millisecond in all; without calls there is nothing to divide."""
    assert report().measurements[0].caller_cpu_us_per_call == pytest.approx(50)
    empty: Measurement = measured({}, "ours", (lane(0.001, calls=0),), 1.0)
    assert empty.caller_cpu_us_per_call == 0.0


def rendered(wanted: Report) -> str:
    """As a person sees it on 100 columns."""
    console = Console(width=100, file=io.StringIO())
    with console.capture() as capture:
        print_report(wanted, console)
    return capture.get()


def test_the_table_shows_arms_ratios_findings_remarks_and_the_machine() -> None:
    """Everything a person needs to judge the figures stands on one screen; what is unknown is left out."""
    text = rendered(report(problems=("something failed",), smoke=True))
    for part in ("ours", "theirs", "0.25", "ours_to_theirs", "left out", "a cpu", "PROBLEM", "mean nothing"):
        assert part in text
    assert "unknown " not in text


def test_details_are_shown_flat_and_without_histograms() -> None:
    """Nested figures get dotted names."""
    histogram = LogHistogram().to_mapping()
    details = {"memory": {"daemon": 7}, "latency": histogram, "nothing": [], "some": ["x"]}
    text = rendered(report(measurements=(), findings={}, details=details))
    assert "memory.daemon" in text
    assert "['x']" in text
    assert "buckets" not in text
    assert "nothing" not in text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.12345, "0.123"), (12.345, "12.3"), (1234.5, "1,234"), (-2.5, "-2.5")]
)
def test_figures_have_three_digits(value: float | None, text: str) -> None:
    """More would be noise."""
    assert figure(value) == text


def test_a_plot_without_a_suffix_is_both_files(tmp_path: Path) -> None:
    """SVG for documents, PNG for the rest."""
    assert plot_paths(tmp_path / "a.svg") == (tmp_path / "a.svg",)
    assert plot_paths(tmp_path / "a.PNG") == (tmp_path / "a.PNG",)
    assert [path.name for path in plot_paths(tmp_path / "v1.2")] == ["v1.2.svg", "v1.2.png"]


def test_the_environment_names_no_host_and_no_path() -> None:
    """Reports are published."""
    environment = capture_environment()
    text = repr(environment)
    assert environment.cores >= 1
    assert environment.versions["trio"]
    assert str(Path.cwd()) not in text
    assert socket.gethostname() not in text
