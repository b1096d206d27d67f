"""The verb ``bench``: the benchmark harness of a checkout.

The harness is no part of the installed package: it holds other people's designs as arms, and needs packages
that nobody needs at work. So the verb looks for it, and says where to run it when it is not there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from hermes_trio.errors import InvalidInputError, UnavailableError

EXIT_FINE = 0
EXIT_FAILED = 1

_SCENARIOS = (
    "idle, throughput, batching, stragglers, files, nl2bash, sandbox, kill, floods, transfer, stateful, "
    "loops, workspaces, console, http"
)
_MARKS = ("benchmarks/scenario/__init__.py", "hermes_trio/cli/bench.py")
"""A directory that has both is a checkout; any other package called ``benchmarks`` is somebody else's."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb and its options."""
    parser = subparsers.add_parser(
        "bench",
        help="measure this runtime beside its ancestor and the physical limits (from a checkout)",
        description="Runs one scenario of the benchmark harness, prints a table, and writes JSON and plots "
        f"on request. Scenarios: {_SCENARIOS}. Exit code 0: measured; 1: calls failed, so that the figures "
        "mean nothing, or what must hold did not; 3: run outside of a checkout, or something that was asked "
        "for is not installed.",
    )
    parser.add_argument("scenario", metavar="SCENARIO", help=_SCENARIOS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw it: .svg, .png, or both when the name has neither"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="show in seconds that it works; figures mean nothing"
    )
    parser.add_argument("--rounds", type=_positive(int), metavar="N", help="how often everything is measured")
    parser.add_argument("--seconds", type=_positive(float), metavar="S", help="how long each load runs")
    parser.add_argument(
        "--trajectories", type=_integers, metavar="N[,N...]", help="how many run at once; several make points"
    )
    parser.add_argument(
        "--arms",
        type=_names,
        metavar="ARM[,ARM...]",
        help="ours, ancestor, http_ours, http_ancestor, http_per_call, bwrap_spawn, plain_spawn, sh_spawn",
    )
    parser.add_argument(
        "--isolation", choices=("auto", "required", "none"), default="auto", help="of our daemon"
    )
    parser.add_argument(
        "--no-network", action="store_true", help="cut the commands off from the host's network"
    )
    parser.add_argument("--slots", type=_positive(int), metavar="N", help="nl2bash: workspaces (64)")
    parser.add_argument("--commands", type=Path, metavar="FILE", help="nl2bash: one shell command a line")
    parser.add_argument(
        "--sample", type=_positive(int), metavar="N", help="nl2bash: only so many, drawn by lot"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the drawing (0)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the scenario, return the exit code.

    Raises:
        InvalidInputError: no such scenario or arm, or a file that cannot be read or written.
        UnavailableError: there is no checkout, or something that was asked for is not installed.
    """
    _check_writable(path for path in (arguments.json, arguments.plot) if path is not None)
    harness = _find_harness()
    report = harness.run_benchmark(
        arguments.scenario,
        harness.BenchOptions(
            smoke=arguments.smoke,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
            trajectories=arguments.trajectories,
            arms=arguments.arms,
            slots=arguments.slots,
            isolation=arguments.isolation,
            allow_network=not arguments.no_network,
            commands=arguments.commands,
            sample=arguments.sample,
            seed=arguments.seed,
        ),
        json_path=arguments.json,
        plot_path=arguments.plot,
    )
    return EXIT_FAILED if report.problems else EXIT_FINE


def find_checkout(starts: Iterable[Path]) -> Path | None:
    """The first directory that is a checkout, going up from each start; ``None`` when there is none."""
    for start in starts:
        for directory in (start, *start.parents):
            if all((directory / mark).is_file() for mark in _MARKS):
                return directory
    return None


def _find_harness() -> Any:
    """The module ``benchmarks.run`` of the checkout this package lies in, or of the one we stand in."""
    checkout = find_checkout((Path(__file__).resolve().parent, Path.cwd()))
    if checkout is None:
        _refuse_outside_checkout()
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    return import_module("benchmarks.run")


def _refuse_outside_checkout() -> NoReturn:
    raise UnavailableError(
        "The benchmark harness is not part of the installed package.",
        mend="Run `hermes-trio bench` from a checkout of the project.",
    )


def _check_writable(paths: Iterable[Path]) -> None:
    """Before anything is measured: a run of minutes must not end in a typing error."""
    for path in paths:
        if not path.parent.is_dir():
            raise InvalidInputError("no such directory to write to", source=str(path))
        if path.is_dir():
            raise InvalidInputError("is a directory, not a file to write", source=str(path))


def _positive(kind: Callable[[str], float]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
        return value

    parse.__name__ = kind.__name__  # argparse names it in its complaint
    return parse


def _integers(text: str) -> tuple[int, ...]:
    return tuple(_positive(int)(part) for part in text.split(","))


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))
