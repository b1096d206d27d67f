"""The summary of a run, counted while its records come in: it is there whenever the run ends. PURE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, final

from attrs import frozen

from hermes_trio.models.completion import Usage
from hermes_trio.rollouts.group import GroupTally
from hermes_trio.rollouts.record import Outcome, TrajectoryRecord
from hermes_trio.rollouts.tasks import Task
from hermes_trio.telemetry.histogram import LogHistogram

MAX_FAILURES = 100
"""Failures that a summary spells out; all of them are in ``trajectories.jsonl``."""

MAX_ERROR_CHARS = 300


@frozen(kw_only=True)
class Failure:
    """One trajectory that was not solved, in one line."""

    trajectory: str
    outcome: Outcome
    error: str


@frozen(kw_only=True)
class Summary:
    """What a run came to. The figures of ``summary.json`` and of the table.

    Args:
        tasks: in the file.
        group_size: trajectories of each task.
        planned: trajectories that were to be run.
        finished: trajectories with a record; fewer than planned when the run was interrupted.
        outcomes: finished trajectories by outcome.
        rewarded: finished trajectories that have a reward.
        mean_reward: of these; ``None`` when there are none.
        solved_tasks: tasks with at least one solved trajectory.
        mixed_groups: groups whose rewards differ.
        turns: model calls.
        tool_calls: of agents.
        tool_errors: as the loop counts them.
        usage: tokens; ``None``: no server told any.
        tool_latency: of agents' calls.
        isolation: levels of the slots that ran commands.
        failures: the first of them.
        wall_s: from the first trajectory's start.
        interrupted: the run was stopped before all was done.
    """

    tasks: int
    group_size: int
    planned: int
    finished: int
    outcomes: Mapping[Outcome, int]
    rewarded: int
    mean_reward: float | None
    solved_tasks: int
    mixed_groups: int
    turns: int
    tool_calls: int
    tool_errors: int
    usage: Usage | None
    tool_latency: LogHistogram
    isolation: Sequence[str]
    failures: Sequence[Failure]
    wall_s: float
    interrupted: bool

    @property
    def solved(self) -> int:
        """Trajectories whose verifier said yes."""
        return self.outcomes.get(Outcome.SOLVED, 0)

    @property
    def is_all_solved(self) -> bool:
        """Whether every planned trajectory was run and solved."""
        return self.solved == self.planned

    def to_mapping(self) -> dict[str, Any]:
        """JSON values; what ``summary.json`` holds beside the run's settings."""
        return {
            "interrupted": self.interrupted,
            "tasks": self.tasks,
            "group_size": self.group_size,
            "trajectories": {
                "planned": self.planned,
                "finished": self.finished,
                "solved": self.solved,
                "rewarded": self.rewarded,
                "masked": self.finished - self.rewarded,
            },
            "outcomes": {outcome.value: count for outcome, count in self.outcomes.items()},
            "mean_reward": self.mean_reward,
            "solved_tasks": self.solved_tasks,
            "mixed_groups": self.mixed_groups,
            "turns": self.turns,
            "tool_calls": self.tool_calls,
            "tool_errors": self.tool_errors,
            "tokens": _tokens(self.usage),
            "tool_latency_s": _latency(self.tool_latency),
            "isolation": list(self.isolation),
            "wall_s": round(self.wall_s, 3),
            "failures": [
                {"trajectory": each.trajectory, "outcome": each.outcome.value, "error": each.error}
                for each in self.failures
            ],
        }


def _tokens(usage: Usage | None) -> dict[str, int] | None:
    if usage is None:
        return None
    return {"prompt": usage.prompt_tokens, "completion": usage.completion_tokens}


def _latency(histogram: LogHistogram) -> dict[str, float | int] | None:
    if not histogram.count:
        return None
    percentiles = {f"p{percent}": round(histogram.percentile(percent), 6) for percent in (50, 95, 99)}
    return {"count": histogram.count, **percentiles, "max": round(histogram.max_s, 6)}


@final
class Tally:
    """Counts records. Constant in size but for one small counter per task.

    Args:
        tasks: what is to be run.
        group_size: trajectories of each.
    """

    def __init__(self, tasks: Sequence[Task], *, group_size: int) -> None:
        self._group_size = group_size
        self._groups = {task.id: GroupTally() for task in tasks}
        self._outcomes: Counter[Outcome] = Counter()
        self._turns = self._tool_calls = self._tool_errors = 0
        self._usage: Usage | None = None
        self._latency = LogHistogram()
        self._isolation: set[str] = set()
        self._failures: list[Failure] = []

    @property
    def planned(self) -> int:
        """Trajectories that are to be run."""
        return len(self._groups) * self._group_size

    @property
    def finished(self) -> int:
        """Trajectories counted."""
        return self._outcomes.total()

    @property
    def solved(self) -> int:
        """Trajectories solved."""
        return self._outcomes[Outcome.SOLVED]

    def add(self, record: TrajectoryRecord) -> None:
        """Count one trajectory."""
        self._outcomes[record.ending.outcome] += 1
        self._groups[record.group].add(record.ending.reward)
        self._turns += record.turns
        self._tool_calls += len(record.calls)
        self._tool_errors += len(record.tool_errors)
        for call in record.calls:
            self._latency.record(call.latency_s)
        if record.usage is not None:
            self._usage = (self._usage or Usage()) + record.usage
        if record.isolation:
            self._isolation.add(record.isolation)
        if record.ending.outcome is not Outcome.SOLVED and len(self._failures) < MAX_FAILURES:
            self._failures.append(_failure(record))

    def summary(self, *, wall_s: float) -> Summary:
        """The figures so far. A run is called interrupted when trajectories are missing."""
        groups = self._groups.values()
        rewarded = sum(group.graded for group in groups)
        return Summary(
            tasks=len(groups),
            group_size=self._group_size,
            planned=self.planned,
            finished=self.finished,
            outcomes=dict(self._outcomes.most_common()),
            rewarded=rewarded,
            mean_reward=self.solved / rewarded if rewarded else None,
            solved_tasks=sum(group.solved > 0 for group in groups),
            mixed_groups=sum(group.is_mixed for group in groups),
            turns=self._turns,
            tool_calls=self._tool_calls,
            tool_errors=self._tool_errors,
            usage=self._usage,
            tool_latency=self._latency,
            isolation=sorted(self._isolation),
            failures=tuple(self._failures),
            wall_s=wall_s,
            interrupted=self.finished < self.planned,
        )


def _failure(record: TrajectoryRecord) -> Failure:
    last_words = record.verifier_output.strip().rpartition("\n")[2]
    error = record.ending.error or last_words
    return Failure(
        trajectory=record.trajectory_id, outcome=record.ending.outcome, error=error[:MAX_ERROR_CHARS]
    )
