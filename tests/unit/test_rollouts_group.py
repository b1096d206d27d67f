"""Groups: what sets their members apart."""

from __future__ import annotations

from hermes_trio.rollouts.group import Assignment, plan_trajectories
from hermes_trio.rollouts.tasks import Task
from hermes_trio.rollouts.trajectory import AgentOptions

TASKS = [Task(id=name, prompt="p", verifier="true") for name in ("a", "b")]
FIRST = 1746515184
"""Of the first trajectory of run 0."""


def _seeds(run_seed: int) -> list[int]:
    return [each.sampling_seed(run_seed) for each in plan_trajectories(TASKS, group_size=8)]


def test_every_trajectory_of_a_run_is_sampled_with_a_seed_of_its_own() -> None:
    """Members of a group that sampled alike would teach nothing."""
    assert len(set(_seeds(0))) == 16


def test_the_same_run_has_the_same_seeds_and_another_run_has_others() -> None:
    """In every process: the numbers are written down here."""
    assert _seeds(0) == _seeds(0)
    assert not set(_seeds(0)) & set(_seeds(1))
    assert Assignment(task=TASKS[0], index=0).sampling_seed(0) == FIRST


def test_seeds_fit_every_server() -> None:
    """31 bits, and not negative."""
    assert all(0 <= seed < 2**31 for seed in _seeds(5))


def test_requests_carry_a_seed_only_when_the_run_has_one() -> None:
    """A library's caller may want none."""
    assignment = Assignment(task=TASKS[0], index=0)
    assert AgentOptions().extra_body_for(assignment) is None
    assert AgentOptions(seed=0).extra_body_for(assignment) == {"seed": FIRST}
