"""What a scenario is, and how those that compare contenders are run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from benchmarks.arms import ARM_MODULES
from benchmarks.arms.base import ArmOptions
from benchmarks.lib.drivers import OpenDrivers, open_drivers
from benchmarks.lib.environment import capture_environment
from benchmarks.lib.measure import measure
from benchmarks.lib.plan import Plan
from benchmarks.lib.plots import draw_bars
from benchmarks.lib.report import Measurement, Report
from hermes_trio.errors import InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMOKE_SECONDS = 0.25


@frozen(kw_only=True)
class BenchOptions:
    """What the command line can ask of any scenario; ``None`` leaves the scenario's own default.

    Attributes:
        smoke: as little as shows that everything works; figures mean nothing.
        rounds: how often everything is measured.
        seconds: how long each load runs.
        trajectories: how many run at once; several make several points.
        arms: who takes part.
        slots: of scenarios that do not derive it from their loads.
        isolation: ``auto``, ``required`` or ``none``, for our own daemon.
        allow_network: whether commands see the host's network.
        commands: a file with one command a line.
        sample: how many of them, drawn with ``seed``; ``None``: all.
        seed: of every drawing of lots.
    """

    smoke: bool = False
    rounds: int | None = None
    seconds: float | None = None
    trajectories: tuple[int, ...] | None = None
    arms: tuple[str, ...] | None = None
    slots: int | None = None
    isolation: str = "auto"
    allow_network: bool = True
    commands: Path | None = None
    sample: int | None = None
    seed: int = 0

    def parameters(self) -> dict[str, Any]:
        """For the report: what was asked for, without the paths of whoever asked."""
        return {
            "smoke": self.smoke,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "trajectories": None if self.trajectories is None else list(self.trajectories),
            "arms": None if self.arms is None else list(self.arms),
            "slots": self.slots,
            "isolation": self.isolation,
            "allow_network": self.allow_network,
            "commands": None if self.commands is None else self.commands.name,
            "sample": self.sample,
            "seed": self.seed,
        }


class Scenario(ABC):
    """One question, and how it is answered."""

    name: str
    summary: str

    @abstractmethod
    async def run(self, options: BenchOptions, console: Console) -> Report:
        """Measures, showing progress on the console.

        Cancellation: *shielded, at most 36 s* for each arm: all processes are stopped first.
        """

    def draw(self, report: Report, figure: Figure) -> None:
        """The report as a picture; percentiles side by side where nothing better is known."""
        draw_bars(report, figure)


class Comparison(Scenario):
    """A scenario that is a plan: contenders at points, in interleaved rounds."""

    default_arms: Sequence[str]
    default_rounds: int = 5
    default_seconds: float = 3.0

    @abstractmethod
    def plan(self, options: BenchOptions, arms: Sequence[str], seconds: float) -> Plan:
        """What is to be measured. PURE."""

    def findings(self, report: Report) -> Mapping[str, float | None]:
        """The figures that the scenario exists for. PURE."""
        return {}

    async def run(self, options: BenchOptions, console: Console) -> Report:
        """See the base class.

        Cancellation: *shielded, at most 36 s* for each arm: all processes are stopped first.
        """
        plan = self._checked_plan(options)
        rounds = options.rounds or (1 if options.smoke else self.default_rounds)
        environment = capture_environment()
        with open_progress(console) as progress:
            task = progress.add_task("starting", total=None)
            opened, measurements = await self._measure(plan, options, rounds, progress, task)
        report = Report(
            scenario=self.name,
            smoke=options.smoke,
            environment=environment,
            parameters={**options.parameters(), "rounds": rounds},
            baseline=plan.baseline,
            measurements=measurements,
            remarks=tuple(_remarks_on_arms(opened)),
            problems=tuple(_failed_calls(measurements)),
        )
        return evolve(report, findings=dict(self.findings(report)))

    def _checked_plan(self, options: BenchOptions) -> Plan:
        arms = options.arms or tuple(self.default_arms)
        for arm in arms:
            if arm not in ARM_MODULES:
                known = ", ".join(ARM_MODULES)
                raise InvalidInputError(f"no arm {arm!r}; there are {known}", source="bench", field="--arms")
        seconds = options.seconds or (SMOKE_SECONDS if options.smoke else self.default_seconds)
        return self.plan(options, arms, seconds)

    async def _measure(
        self, plan: Plan, options: BenchOptions, rounds: int, progress: Progress, task: TaskID
    ) -> tuple[OpenDrivers, tuple[Measurement, ...]]:
        arm_options = ArmOptions(
            slots=plan.slots, isolation=options.isolation, allow_network=options.allow_network
        )
        async with open_drivers(plan.arms, arm_options) as opened:
            _refuse_missing(opened, options)
            present = [each for each in plan.contenders if each.arm in opened.drivers]
            progress.update(task, total=rounds * len(plan.points) * len(present))

            begun = count()

            def show(what: str) -> None:
                progress.update(task, description=what, completed=next(begun))

            measurements = await measure(plan, opened.drivers, rounds=rounds, progress=show)
        return opened, measurements


def open_progress(console: Console) -> Progress:
    """A bar on the console that is gone when the work is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _refuse_missing(opened: OpenDrivers, options: BenchOptions) -> None:
    """An arm that was asked for by name must not be left out in silence; nor may all of them be."""
    if opened.unavailable and (options.arms is not None or not opened.drivers):
        arm, reason = next(iter(opened.unavailable.items()))
        raise UnavailableError(f"arm {arm} cannot run here: {reason}")


def _remarks_on_arms(opened: OpenDrivers) -> list[str]:
    return [f"arm {arm} was left out: {reason}" for arm, reason in opened.unavailable.items()]


def _failed_calls(measurements: Sequence[Measurement]) -> list[str]:
    """Failed calls make figures worthless: they are named with a reason."""
    problems = []
    for measurement in measurements:
        reasons = [reason for result in measurement.rounds for reason in result.failures]
        if reasons:
            where = f"{measurement.contender} at {dict(measurement.labels)}"
            problems.append(f"{where}: {measurement.summary.failed} calls failed, for instance: {reasons[0]}")
    return problems
