"""What each scenario plans to measure, and what it finds in a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.arms import ARM_MODULES
from benchmarks.lib.environment import capture_environment
from benchmarks.lib.load import LaneResult
from benchmarks.lib.plan import Plan
from benchmarks.lib.report import Report, check_report, measured
from benchmarks.scenario import SCENARIOS, load_scenario, nl2bash
from benchmarks.scenario.base import BenchOptions, Comparison
from benchmarks.scenario.batching import batch_size_of, label
from benchmarks.scenario.nl2bash import read_commands
from hermes_trio.errors import InvalidInputError
from hermes_trio.telemetry import LogHistogram

COMPARISONS = tuple(name for name in SCENARIOS if isinstance(load_scenario(name), Comparison))


def comparison(name: str) -> Comparison:
    """A scenario that compares."""
    scenario = load_scenario(name)
    assert isinstance(scenario, Comparison)
    return scenario


def planned(name: str, options: BenchOptions | None = None) -> Plan:
    """Its plan for its default arms."""
    scenario = comparison(name)
    options = options or BenchOptions()
    return scenario.plan(options, options.arms or scenario.default_arms, 1.0)


def lane(latency_s: float) -> LaneResult:
    """A round of ten calls at that latency, one after another."""
    histogram = LogHistogram()
    for _ in range(10):
        histogram.record(latency_s)
    return LaneResult(lane="all", calls=10, wall_s=10 * latency_s, latency=histogram.snapshot())


def found(name: str, latencies_s: Mapping[str, float]) -> Mapping[str, float | None]:
    """The findings when contenders, by prefix of their labels, have these latencies everywhere."""
    scenario, plan = comparison(name), planned(name)
    report = Report(
        scenario=name,
        smoke=False,
        environment=capture_environment(),
        parameters={},
        baseline=plan.baseline,
        measurements=tuple(
            measured(point.labels, contender.label, (lane(latency_s),), 0.0)
            for point in plan.points
            for contender in plan.contenders
            for prefix, latency_s in latencies_s.items()
            if contender.label.startswith(prefix)
        ),
    )
    check_report(report)
    return scenario.findings(report)


@pytest.mark.parametrize("smoke", [False, True])
@pytest.mark.parametrize("name", COMPARISONS)
def test_plans_are_sound(name: str, smoke: bool) -> None:
    """Labels tell everything apart, arms exist, and the baseline takes part."""
    plan = planned(name, BenchOptions(smoke=smoke))
    labels = [contender.label for contender in plan.contenders]
    points = [tuple(point.labels.items()) for point in plan.points]
    assert len(set(labels)) == len(labels)
    assert len(set(points)) == len(points)
    assert set(plan.arms) <= set(ARM_MODULES)
    assert plan.baseline in labels
    for point in plan.points:
        assert point.lane in {lane.name for lane in point.load.lanes}
        assert point.load.trajectories <= plan.slots


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_plan_for_one_arm_only_compares_it_with_itself(name: str) -> None:
    """Leaving the usual baseline out must not break the table."""
    plan = planned(name, BenchOptions(arms=("ours",)))
    assert {contender.arm for contender in plan.contenders} == {"ours"}
    assert plan.baseline == plan.contenders[0].label


@pytest.mark.parametrize("name", COMPARISONS)
def test_the_number_of_trajectories_can_be_chosen(name: str) -> None:
    """It is a label of every point."""
    plan = planned(name, BenchOptions(trajectories=(3,)))
    assert {point.labels["trajectories"] for point in plan.points} == {3}


def test_smoke_plans_are_small() -> None:
    """CI runs them all."""
    for name in COMPARISONS:
        assert planned(name, BenchOptions(smoke=True)).slots <= 8


def test_batching_sweeps_window_size_and_concurrency() -> None:
    """Nine settings of ours, two of the ancestor's, at four numbers of trajectories."""
    plan = planned("batching")
    ours = [each.settings for each in plan.contenders if each.arm == "ours"]
    assert len(ours) == 9
    assert {each.batch_window_ms for each in ours} == {0, 5, 20}
    assert {each.max_batch_size for each in ours} == {1, 16, 200}
    assert [each.label for each in plan.contenders if each.arm == "ancestor"] == [
        "ancestor w0 b200",
        "ancestor w20 b200",
    ]
    assert len(plan.points) == 4
    assert batch_size_of(label("ours", 0.5, 16)) == 16


def test_stragglers_measure_the_fast_lane_beside_one_sleeper() -> None:
    """The sleeper makes one call; only the fast ones' figures are taken."""
    without, beside = planned("stragglers").points
    assert [lane.name for lane in without.load.lanes] == ["fast"]
    fast, sleeper = beside.load.lanes
    assert (fast.trajectories, sleeper.trajectories, sleeper.calls) == (16, 1, 1)
    assert sleeper.steps[0].arguments == {"command": "sleep 5"}


def test_findings_answer_the_scenarios_question() -> None:
    """Ours takes 2 ms, the ancestor 30, the bare sandboxed command 1: the road costs 1 ms."""
    latencies = {"ours": 0.002, "ancestor": 0.030, "bwrap_spawn": 0.001, "plain_spawn": 0.0005}
    idle = found("idle", latencies)
    assert idle["ours_minus_bwrap_spawn_p50_ms"] == pytest.approx(1.0)
    assert idle["ours_minus_ancestor_p50_ms"] == pytest.approx(-28.0)
    assert found("files", latencies)["ours_to_ancestor_calls_per_s"] == pytest.approx(15)
    assert found("throughput", latencies)["ours_to_ancestor_calls_per_s_at_64"] == pytest.approx(15)
    assert found("batching", latencies)["default_to_ancestor_p50_at_16"] == pytest.approx(1 / 15)
    assert found("stragglers", latencies)["ours_p99_with_to_without_sleeper"] == pytest.approx(1)


def test_the_http_servers_are_compared_with_and_without_the_window() -> None:
    """At each number of connections; a smoke run has no time for the second."""
    http = found("http", {"http_ours": 0.005, "http_ancestor": 0.030})
    assert http["ours_to_ancestor_p50_ms_at_64"] == pytest.approx(1 / 6, rel=0.05)
    assert http["ours_to_ancestor_without_window_calls_per_s_at_1"] == pytest.approx(6)
    assert [each.label for each in planned("http").contenders] == [
        "http_ours",
        "http_ancestor",
        "http_ancestor w0",
    ]


def test_findings_about_an_absent_arm_are_unknown_not_wrong() -> None:
    """Without bubblewrap there is no arm to subtract."""
    assert found("idle", {"ours": 0.002})["ours_minus_bwrap_spawn_p50_ms"] is None


def test_an_unknown_scenario_is_named_with_those_there_are() -> None:
    """One line, fit to be printed."""
    with pytest.raises(InvalidInputError, match="no scenario 'speed'; there are idle, throughput"):
        load_scenario("speed")


def test_parameters_of_a_report_hold_no_path() -> None:
    """Only the name of the file of commands."""
    options = BenchOptions(commands=Path("some/where/commands.txt"), trajectories=(1, 2), arms=("ours",))
    assert options.parameters()["commands"] == "commands.txt"
    assert options.parameters()["trajectories"] == [1, 2]


def test_commands_are_lines_that_are_not_empty(tmp_path: Path) -> None:
    """Bytes that are no text do not stop the run; a last line without an end counts."""
    path = tmp_path / "commands.txt"
    path.write_bytes(b"ls\n\n  \nprintf '\xff'\ntrue")
    assert read_commands(path, sample=None, seed=0) == ["ls", "printf '�'", "true"]


def test_a_sample_is_drawn_by_its_seed_and_keeps_the_order(tmp_path: Path) -> None:
    """The same seed runs the same commands everywhere."""
    path = tmp_path / "commands.txt"
    path.write_text("".join(f"echo {number}\n" for number in range(100, 200)))
    first = read_commands(path, sample=10, seed=1)
    assert first == read_commands(path, sample=10, seed=1) == sorted(first)
    assert first != read_commands(path, sample=10, seed=2)
    assert len(read_commands(path, sample=1000, seed=1)) == 100


@pytest.mark.parametrize(("name", "message"), [("missing", "No such file"), ("empty", "holds no command")])
def test_a_file_without_commands_is_one_clear_line(tmp_path: Path, name: str, message: str) -> None:
    """It names the file and the option."""
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(InvalidInputError, match=f"{name}: field '--commands': {message}"):
        read_commands(tmp_path / name, sample=None, seed=0)


def test_a_file_that_would_take_days_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything of it runs."""
    monkeypatch.setattr(nl2bash, "MAX_FILE_BYTES", 1)
    (tmp_path / "large").write_text("ls\n")
    with pytest.raises(InvalidInputError, match="large: field '--commands': has more than 0 MiB"):
        read_commands(tmp_path / "large", sample=1, seed=0)
