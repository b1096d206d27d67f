"""What a scenario wants measured, as data. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from benchmarks.arms.base import CallerSettings
from benchmarks.lib.load import Lane, Load, Step

Label = str | int | float
TRUE = Step(tool="bash", arguments={"command": "true"})


@frozen(kw_only=True)
class Contender:
    """One line of a table: an arm with settings.

    Attributes:
        label: how it is called in tables, plots and findings; unique within a plan.
        arm: name in ``benchmarks.arms.ARM_MODULES``.
        settings: of its caller.
    """

    label: str
    arm: str
    settings: CallerSettings = field(factory=CallerSettings)


@frozen(kw_only=True)
class Point:
    """One load at which all contenders are compared.

    Attributes:
        labels: what is particular about it, for instance ``{"trajectories": 32}``; unique within a plan.
        load: the same for every contender.
        lane: the lane whose figures are reported; others are company.
    """

    labels: Mapping[str, Label]
    load: Load
    lane: str = "all"


@frozen(kw_only=True)
class Plan:
    """Everything a scenario measures.

    Attributes:
        contenders: in the order of the tables.
        points: each measured by every contender in every round.
        baseline: label of the contender that the others' ratios are against.
    """

    contenders: tuple[Contender, ...]
    points: tuple[Point, ...]
    baseline: str

    @property
    def arms(self) -> tuple[str, ...]:
        """Each arm once, in order."""
        return tuple(dict.fromkeys(contender.arm for contender in self.contenders))

    @property
    def slots(self) -> int:
        """Enough for the widest load."""
        return max(point.load.trajectories for point in self.points)


def one_lane(trajectories: int, steps: Sequence[Step], duration_s: float) -> Load:
    """The plain case: all trajectories alike."""
    lane = Lane(name="all", trajectories=trajectories, steps=tuple(steps))
    return Load(lanes=(lane,), duration_s=duration_s)


def plain_contenders(arms: Sequence[str]) -> tuple[Contender, ...]:
    """Arms with their own defaults, called by their names."""
    return tuple(Contender(label=arm, arm=arm) for arm in arms)
