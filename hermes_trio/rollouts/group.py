"""Groups: the trajectories of one task, planned beforehand and counted as they come in. PURE.

A group is what group-relative training compares (GRPO: the mean reward of the group is each member's
baseline). A member that failed for reasons of infrastructure is missing from the comparison and no more:
it neither drags the mean down nor takes the others with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from attrs import define, frozen

from hermes_trio.rollouts.record import Ending, TrajectoryRecord
from hermes_trio.rollouts.tasks import Task


@frozen(kw_only=True)
class Assignment:
    """One trajectory that is to be run."""

    task: Task
    index: int
    """In its group, from 0."""

    @property
    def group(self) -> str:
        """The group's name: the task's."""
        return self.task.id

    @property
    def trajectory_id(self) -> str:
        """Unique in a run, because task ids are and ``:`` cannot be in one."""
        return f"{self.task.id}:{self.index}"

    def sampling_seed(self, run_seed: int) -> int:
        """What the model server is asked to sample this trajectory with.

        Members of a group must differ, and a run must be repeatable: so it follows from the run's seed, the
        task and the index, and not from who was first. 31 bits: servers differ in how many they take.
        """
        digest = hashlib.sha256(f"{run_seed}/{self.task.id}/{self.index}".encode()).digest()
        return int.from_bytes(digest[:4], "big") >> 1

    def record(self, ending: Ending) -> TrajectoryRecord:
        """A record of nothing but how it ended."""
        return TrajectoryRecord(
            task_id=self.task.id,
            trajectory_id=self.trajectory_id,
            group=self.group,
            index=self.index,
            ending=ending,
        )


def plan_trajectories(tasks: Sequence[Task], *, group_size: int) -> Iterator[Assignment]:
    """All trajectories of a run, group by group: a group's members run at about the same time."""
    for task in tasks:
        for index in range(group_size):
            yield Assignment(task=task, index=index)


@define(kw_only=True)
class GroupTally:
    """What came of one group so far."""

    solved: int = 0
    graded: int = 0
    """Members with a reward."""
    masked: int = 0

    @property
    def is_mixed(self) -> bool:
        """Whether its rewards differ: only then does the group teach a group-relative trainer anything."""
        return 0 < self.solved < self.graded

    def add(self, reward: float | None) -> None:
        """Count one member."""
        if reward is None:
            self.masked += 1
        else:
            self.graded += 1
            self.solved += reward > 0
