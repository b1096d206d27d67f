"""All trajectories of a run, in one nursery, so many at a time and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio
from attrs import field, frozen

from hermes_trio.agents.loop import ChatModel
from hermes_trio.errors import InvalidInputError
from hermes_trio.rollouts.bases import TaskBases
from hermes_trio.rollouts.group import Assignment, plan_trajectories
from hermes_trio.rollouts.record import Ending, Stage, TrajectoryRecord, provenance_of
from hermes_trio.rollouts.tasks import Task
from hermes_trio.rollouts.trajectory import AgentOptions, RolloutExecutor, run_trajectory
from hermes_trio.telemetry.log import get_logger

logger = get_logger(__name__)


@frozen(kw_only=True)
class RolloutConfig:
    """How a run goes about its tasks.

    Args:
        group_size: trajectories of each task.
        concurrency: trajectories alive at once; more than there are slots wait for one.
        agent: what all trajectories have in common.
    """

    group_size: int = 1
    concurrency: int = 64
    agent: AgentOptions = field(factory=AgentOptions)

    def __attrs_post_init__(self) -> None:
        for name in ("group_size", "concurrency"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"must be at least 1, not {getattr(self, name)}", field=name)


async def run_rollouts(
    tasks: Sequence[Task],
    *,
    model: ChatModel,
    executor: RolloutExecutor,
    on_finished: Callable[[TrajectoryRecord], None],
    config: RolloutConfig | None = None,
) -> None:
    """Run every trajectory of every task.

    A trajectory that fails, in whatever way, is a record like any other: its group and the run go on.

    Cancellation: *abandons*: trajectories under way are given up and leave no record; those that finished
    were handed over already.

    Args:
        tasks: in the order in which their groups are begun.
        model: the policy.
        executor: where the calls run.
        on_finished: is given each record as its trajectory finishes, in the order in which they do. What it
            raises ends the run: a record that cannot be kept is no small matter.
        config: ``None``: one trajectory per task, 64 at once.
    """
    config = config or RolloutConfig()
    plan = plan_trajectories(tasks, group_size=config.group_size)
    bases = TaskBases(executor)
    workers = min(config.concurrency, len(tasks) * config.group_size)

    async def work() -> None:
        await trio.lowlevel.checkpoint()
        # The plan is shared: whoever is free takes the next. There is no checkpoint inside `next`.
        for assignment in plan:
            record = await _recorded(assignment, model, executor, config.agent, bases)
            on_finished(record)

    async with trio.open_nursery() as nursery:
        for _ in range(workers):
            nursery.start_soon(work)


async def _recorded(
    assignment: Assignment,
    model: ChatModel,
    executor: RolloutExecutor,
    options: AgentOptions,
    bases: TaskBases,
) -> TrajectoryRecord:
    await trio.lowlevel.checkpoint()
    try:
        return await run_trajectory(assignment, model=model, executor=executor, options=options, bases=bases)
    except Exception as error:
        # The boundary where a bug in one trajectory becomes data: the others are not to pay for it.
        logger.exception("a trajectory crashed", trajectory=assignment.trajectory_id)
        told = f"{type(error).__name__}: {error}"
        ending = Ending(stage=Stage.AGENT, provenance=provenance_of(error), error=told)
        return assignment.record(ending)
