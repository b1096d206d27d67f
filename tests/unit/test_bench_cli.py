"""The verb ``bench``: where it finds the harness, and what it says when it cannot."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hermes_trio.cli import bench
from hermes_trio.errors import InvalidInputError, UnavailableError


def parse(*words: str) -> argparse.Namespace:
    """What the command line makes of it."""
    parser = argparse.ArgumentParser()
    bench.add_parser(parser.add_subparsers())
    return parser.parse_args(["bench", *words])


def test_options_have_types_and_lists() -> None:
    """Several trajectories and arms are separated by commas."""
    arguments = parse(
        "idle", "--trajectories", "1,4", "--arms", "ours, ancestor", "--seconds", "0.5", "--smoke"
    )
    assert arguments.scenario == "idle"
    assert arguments.trajectories == (1, 4)
    assert arguments.arms == ("ours", "ancestor")
    assert arguments.seconds == 0.5
    assert arguments.run is bench.run


@pytest.mark.parametrize(
    "words", [("--rounds", "0"), ("--seconds", "nan"), ("--trajectories", "1,x"), ("--isolation", "some"), ()]
)
def test_bad_usage_ends_with_exit_code_two(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names the option."""
    scenario = ("idle",) if words else ()
    with pytest.raises(SystemExit) as stopped:
        parse(*scenario, *words)
    assert stopped.value.code == 2
    assert (words[0] if words else "SCENARIO") in capsys.readouterr().err


def test_a_checkout_is_found_from_below_it(tmp_path: Path) -> None:
    """Both halves must be there: many projects have a directory called benchmarks."""
    below = tmp_path / "docs" / "how-to"
    below.mkdir(parents=True)
    for mark in bench._MARKS:
        assert bench.find_checkout([below]) is None
        (tmp_path / mark).parent.mkdir(parents=True)
        (tmp_path / mark).touch()
    assert bench.find_checkout([Path("/nowhere"), below]) == tmp_path


def test_outside_a_checkout_it_says_where_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package has no harness."""
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "hermes_trio" / "cli" / "bench.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnavailableError, match="from a checkout"):
        bench.run(parse("idle"))


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_a_file_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path, option: str) -> None:
    """A run of minutes must not end in a typing error."""
    with pytest.raises(InvalidInputError, match="no such directory"):
        bench.run(parse("idle", option, str(tmp_path / "missing" / "file.svg")))
    with pytest.raises(InvalidInputError, match="is a directory"):
        bench.run(parse("idle", option, str(tmp_path)))


@pytest.mark.parametrize(("problems", "code"), [((), 0), (("calls failed",), 1)])
def test_exit_code_says_whether_the_figures_mean_anything(
    monkeypatch: pytest.MonkeyPatch, problems: tuple[str, ...], code: int
) -> None:
    """And everything on the command line reaches the harness."""
    asked: dict[str, object] = {}

    def run_benchmark(name: str, options: SimpleNamespace, **paths: object) -> SimpleNamespace:
        asked.update(name=name, slots=options.slots, network=options.allow_network, **paths)
        return SimpleNamespace(problems=problems)

    harness = SimpleNamespace(run_benchmark=run_benchmark, BenchOptions=SimpleNamespace)
    monkeypatch.setattr(bench, "import_module", lambda name: harness)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert bench.run(parse("files", "--slots", "3", "--no-network", "--json", "x.json")) == code
    assert asked == {
        "name": "files",
        "slots": 3,
        "network": False,
        "json_path": Path("x.json"),
        "plot_path": None,
    }


def test_the_checkout_is_put_on_the_path_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An editable install may have it there already."""
    checkout = bench.find_checkout([Path(bench.__file__).parent])
    assert checkout is not None
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if Path(entry or ".") != checkout])
    monkeypatch.setattr(bench, "import_module", lambda name: name)
    assert bench._find_harness() == bench._find_harness() == "benchmarks.run"
    assert sys.path.count(str(checkout)) == 1
