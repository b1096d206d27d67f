"""One trajectory: a slot, its set-up, the agent's turns, a quiet slot, a verdict, the slot given back.

Limits are a tree. ``limits.trajectory_s`` is one deadline for set-up and turns, and every call in it has
``limits.call_s`` at most. It starts when the trajectory has its slot: waiting for one is nobody's fault.
Grading comes on top, bounded by ``QUIESCE_LIMIT_S`` and ``limits.call_s``: a policy that ran out of time is
graded for what it did, not for having been cut off.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import trio
from attrs import define, evolve, field, frozen

from hermes_trio.agents.limits import LoopLimits
from hermes_trio.agents.loop import AgentLoop, ChatModel, ToolExecutor
from hermes_trio.agents.prompt import task_prompt
from hermes_trio.agents.result import AgentResult
from hermes_trio.agents.result import Ending as LoopEnding
from hermes_trio.agents.sub_agent import SubAgent
from hermes_trio.errors import HermesTrioError, Provenance
from hermes_trio.executor.quiet import QuietSlot
from hermes_trio.models.completion import Usage
from hermes_trio.rollouts.bases import BaseFailedError, TaskBases
from hermes_trio.rollouts.group import Assignment
from hermes_trio.rollouts.record import CallTiming, Ending, Stage, TrajectoryRecord, provenance_of
from hermes_trio.rollouts.tasks import Task
from hermes_trio.rollouts.trace import BranchRecord, TokenRecord
from hermes_trio.telemetry import traces
from hermes_trio.telemetry.bus import EventBus, bus_of
from hermes_trio.telemetry.events import TrajectoryBegan, TrajectoryEnded, bounded_text
from hermes_trio.telemetry.log import bound
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import ToolRegistry

QUIESCE_LIMIT_S = 30.0
"""How long a slot may take to become quiet. The daemon kills what runs there, which takes milliseconds."""

RELEASE_LIMIT_S = 10.0
"""How long giving a slot back is waited for; the executor goes on with it anyway."""

MAX_VERIFIER_OUTPUT = 2000
"""Characters kept of what a verifier printed, its end: that is where a traceback says why."""


MIN_AGENT_S = 0.001
"""An agent whose set-up took all the time ends by its limit, like any other."""


class RolloutExecutor(ToolExecutor, Protocol):
    """What a rollout needs of an executor; :class:`hermes_trio.executor.executor.Executor` is one."""

    async def quiesce(self, trajectory_id: str) -> QuietSlot:
        """Wait until nothing runs in the slot, and let nothing new begin but what the verifier says.

        Cancellation: *abandons*.
        """
        ...

    async def release(self, trajectory_id: str, *, reset_workspace: bool = True) -> None:
        """Give the slot back.

        Cancellation: *abandons*.
        """
        ...


@frozen(kw_only=True)
class AgentOptions:
    """What all trajectories of a run have in common.

    Args:
        max_turns: model calls at most, where a task does not allow fewer; ``None``: as the tasks say.
        temperature: of sampling; ``None``: the server's default.
        max_tokens: most tokens of one turn; ``None``: the server's default.
        seed: of the run; each trajectory's requests carry one that follows from it, see
            :meth:`Assignment.sampling_seed`. ``None``: they carry none.
        tools: what the model may call; ``None``: the default toolset.
        parser: see :class:`hermes_trio.agents.loop.AgentLoop`.
        limits: of each trajectory; where a task allows less, that counts.
        extra_body: further members of each request to the model.
        sub_agents: loops that the model may call.
    """

    max_turns: int | None = None
    temperature: float | None = 1.0
    max_tokens: int | None = None
    seed: int | None = None
    tools: ToolRegistry | None = None
    parser: str | None = "hermes"
    limits: LoopLimits = field(factory=LoopLimits)
    extra_body: Mapping[str, Any] = field(factory=dict)
    sub_agents: Sequence[SubAgent] = ()

    def turns_for(self, task: Task) -> int:
        """The tighter of the two limits."""
        return task.limits.turns if self.max_turns is None else min(self.max_turns, task.limits.turns)

    def extra_body_for(self, assignment: Assignment) -> Mapping[str, Any] | None:
        """What the trajectory's model requests say beyond the usual."""
        seed = {} if self.seed is None else {"seed": assignment.sampling_seed(self.seed)}
        return {**seed, **self.extra_body} or None

    def limits_for(self, left_s: float) -> LoopLimits:
        """The limits of an agent that has so many seconds left."""
        asked_s = math.inf if self.limits.trajectory_s is None else self.limits.trajectory_s
        return evolve(self.limits, trajectory_s=max(min(left_s, asked_s), MIN_AGENT_S))


class _StoppedError(Exception):
    """The trajectory cannot go on, and its policy is not to blame."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.error)
        self.ending = ending


@define(kw_only=True)
class _Slot:
    """One trajectory's view of the executor: its own id, its task's limits, its own record of calls."""

    executor: RolloutExecutor
    trajectory_id: str
    call_s: float
    timings: list[CallTiming] = field(factory=list)
    isolation: str = ""

    @property
    def bus(self) -> EventBus:
        """The executor's: what the agent loop tells belongs to the same trajectory."""
        return bus_of(self.executor)

    async def execute(
        self, trajectory_id: str, call: ToolCall, *, limit_s: float | None = None
    ) -> ToolResult:
        """Run a call of the agent's and take its time.

        Cancellation: *abandons*.
        """
        asked = trio.current_time()
        limit_s = min(self.call_s, asked_limit_s(call.arguments), math.inf if limit_s is None else limit_s)
        result = await self.executor.execute(trajectory_id, call, limit_s=limit_s)
        latency_s = trio.current_time() - asked
        self.timings.append(CallTiming(tool=call.name, provenance=result.provenance, latency_s=latency_s))
        return result

    async def run(
        self, name: str, arguments: Mapping[str, Any], *, quiet: QuietSlot | None = None
    ) -> ToolResult:
        """Run a call of the task's own, in the quiet slot if that is given.

        Cancellation: *abandons*.
        """
        call = ToolCall(name, arguments)
        if quiet is not None:
            result = await quiet.execute(call, limit_s=self.call_s)
        else:
            result = await self.executor.execute(self.trajectory_id, call, limit_s=self.call_s)
        self.isolation = str(result.metadata.get("isolation", self.isolation))
        return result


def asked_limit_s(arguments: Mapping[str, Any]) -> float:
    """The limit that the model asked for by ``timeout``, or infinity."""
    match arguments.get("timeout"):
        case bool():
            return math.inf
        case (int() | float()) as seconds if seconds > 0:
            return seconds
        case _:
            return math.inf


async def run_trajectory(
    assignment: Assignment,
    *,
    model: ChatModel,
    executor: RolloutExecutor,
    options: AgentOptions,
    bases: TaskBases | None = None,
) -> TrajectoryRecord:
    """Run one trajectory from its slot to its verdict.

    Whatever the model, the policy, the sandbox or the task does wrong is in the record; what raises is a
    bug.

    Cancellation: *abandons*: the call under way is ended, the slot is given back (shielded, at most 10 s);
    there is no record.

    Args:
        assignment: which task, and which member of its group.
        model: the policy.
        executor: where the calls run.
        options: see :class:`AgentOptions`.
        bases: of the run, by which trajectories share them; ``None``: this one builds its own.
    """
    task = assignment.task
    bases = bases or TaskBases(executor)
    await trio.lowlevel.checkpoint()
    slot = _Slot(executor=executor, trajectory_id=assignment.trajectory_id, call_s=task.limits.call_s)
    with (
        traces.running("trajectory", attributes=_attributes(assignment)) as span,
        bound(trajectory=assignment.trajectory_id),
    ):
        record = None
        slot.bus.begin(("trajectory", assignment.trajectory_id), _began(assignment))
        try:
            record = await _in_slot(assignment, slot, model, options, bases)
            return record
        finally:
            ended = _ended(assignment, record)
            slot.bus.end(("trajectory", assignment.trajectory_id), ended)
            _note_end(span, ended)
            with trio.move_on_after(RELEASE_LIMIT_S, shield=True):
                await executor.release(assignment.trajectory_id, reset_workspace=True)


def _attributes(assignment: Assignment) -> Mapping[str, str]:
    return {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.conversation.id": assignment.trajectory_id,
        "hermes_trio.task": assignment.task.id,
        "hermes_trio.group": assignment.group,
    }


def _note_end(span: traces.Span, ended: TrajectoryEnded) -> None:
    if not span.is_recording():
        return
    figures: dict[str, int | str | None] = {
        "turns": ended.turns,
        "stage": ended.stage,
        "solved": ended.solved,
    }
    for name, value in figures.items():
        if value is not None:
            span.set_attribute(f"hermes_trio.{name}", value)
    span.set_attribute("hermes_trio.provenance", ended.provenance.value)
    if ended.provenance.is_infrastructure or ended.provenance is Provenance.CANCELLED:
        traces.fail(span, ended.provenance.value, ended.error)


def _began(assignment: Assignment) -> TrajectoryBegan:
    return TrajectoryBegan(
        trajectory=assignment.trajectory_id,
        task=assignment.task.id,
        group=assignment.group,
        index=assignment.index,
        limit_s=assignment.task.limits.trajectory_s,
    )


def _ended(assignment: Assignment, record: TrajectoryRecord | None) -> TrajectoryEnded:
    """``None``: it was given up, or it crashed."""
    if record is None:
        told = "it was given up"
        return TrajectoryEnded(
            trajectory=assignment.trajectory_id, provenance=Provenance.CANCELLED, error=told
        )
    ending = record.ending
    return TrajectoryEnded(
        trajectory=assignment.trajectory_id,
        provenance=ending.provenance,
        stage=ending.stage.value,
        solved=ending.solved,
        turns=record.turns,
        error=bounded_text(ending.error),
    )


async def _in_slot(
    assignment: Assignment, slot: _Slot, model: ChatModel, options: AgentOptions, bases: TaskBases
) -> TrajectoryRecord:
    task = assignment.task
    record = assignment.record(Ending(stage=Stage.SETUP, provenance=Provenance.OK))
    started = trio.current_time()
    await trio.lowlevel.checkpoint()
    try:
        await _required(slot, "bash", {"command": "true"}, what="the first command")
        await _lay_base(task, slot, bases)
        started = trio.current_time()
        deadline = started + task.limits.trajectory_s
        await _set_up(task, slot, deadline)
        record = await _let_agent_work(record, assignment, slot, model, options, deadline)
        if not record.ending.provenance.is_infrastructure:
            record = await _grade(record, task, slot)
    except _StoppedError as stopped:
        record = evolve(record, ending=stopped.ending)
    return evolve(record, isolation=slot.isolation, duration_s=trio.current_time() - started)


async def _lay_base(task: Task, slot: _Slot, bases: TaskBases) -> None:
    """Not charged to the trajectory: one builds it for all, and the others wait for that."""
    await trio.lowlevel.checkpoint()
    if task.base is None:
        return
    try:
        await bases.begin(slot.trajectory_id, task.base)
    except BaseFailedError as error:
        ending = Ending(stage=Stage.SETUP, provenance=error.provenance, error=str(error))
        raise _StoppedError(ending) from error


async def _set_up(task: Task, slot: _Slot, deadline: float) -> None:
    with trio.CancelScope(deadline=deadline) as scope:
        await trio.lowlevel.checkpoint()
        for name, arguments, what in _preparations(task):
            await _required(slot, name, arguments, what=what)
    if scope.cancelled_caught:
        error = f"the set-up took longer than limits.trajectory_s, {task.limits.trajectory_s:g} s"
        raise _StoppedError(Ending(stage=Stage.SETUP, provenance=Provenance.LIMIT_EXCEEDED, error=error))


def _preparations(task: Task) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """The calls that make a task's workspace, in order: tool, arguments, and what to call it."""
    for path, text in task.files.items():
        yield "write_file", {"path": path, "content": text}, f"file {path!r}"
    for number, command in enumerate(task.setup, start=1):
        yield "bash", {"command": command}, f"set-up command {number}"


async def _required(slot: _Slot, name: str, arguments: Mapping[str, Any], *, what: str) -> None:
    """A call without which there is no trajectory."""
    result = await slot.run(name, arguments)
    if result.provenance is not Provenance.OK:
        last = result.output.strip().rpartition("\n")[2]
        told = f"{what}: {result.error or result.provenance.value}" + (f" ({last[:200]})" if last else "")
        raise _StoppedError(Ending(stage=Stage.SETUP, provenance=result.provenance, error=told))


async def _let_agent_work(
    record: TrajectoryRecord,
    assignment: Assignment,
    slot: _Slot,
    model: ChatModel,
    options: AgentOptions,
    deadline: float,
) -> TrajectoryRecord:
    """The agent's turns, cut off at the deadline; the transcript is whole either way."""
    task = assignment.task
    limits = options.limits_for(deadline - trio.current_time())
    loop = AgentLoop(
        model,
        options.tools,
        slot,
        max_turns=options.turns_for(task),
        temperature=options.temperature,
        max_tokens=options.max_tokens,
        extra_body=options.extra_body_for(assignment),
        limits=limits,
        parser=options.parser,
        sub_agents=options.sub_agents,
    )
    result = await loop.run(task_prompt(task.id, task.prompt), trajectory_id=slot.trajectory_id)
    record = _with_result(record, result, slot)
    if result.ending is LoopEnding.TIME_LIMIT and limits.trajectory_s != options.limits.trajectory_s:
        # The task's own limit, of which the loop knew only what the set-up had left.
        error = f"the time of the trajectory, {task.limits.trajectory_s:g} s, was over"
        record = evolve(record, ending=evolve(record.ending, error=error))
    return record


def _with_result(record: TrajectoryRecord, result: AgentResult, slot: _Slot) -> TrajectoryRecord:
    return evolve(
        record,
        ending=Ending(stage=Stage.AGENT, provenance=result.provenance, error=result.error),
        messages=result.messages,
        turns=result.turns_used,
        finished_naturally=result.finished_naturally,
        calls=slot.timings,
        tool_errors=result.tool_errors,
        reasoning=result.reasoning_per_turn,
        usage=None if result.usage == Usage() else result.usage,
        tokens=TokenRecord.of(result.token_trace),
        branches=tuple(map(BranchRecord.of, result.branches)),
    )


async def _grade(record: TrajectoryRecord, task: Task, slot: _Slot) -> TrajectoryRecord:
    """Wait for quiet, then ask the verifier. How the agent ended stays on the record."""
    quiet = await _become_quiet(slot)
    result = await slot.run("bash", {"command": task.verifier}, quiet=quiet)
    ending = verdict(record.ending, result)
    return evolve(record, ending=ending, verifier_output=result.output[-MAX_VERIFIER_OUTPUT:])


async def _become_quiet(slot: _Slot) -> QuietSlot:
    try:
        with trio.move_on_after(QUIESCE_LIMIT_S):
            return await slot.executor.quiesce(slot.trajectory_id)
    except HermesTrioError as error:
        ending = Ending(stage=Stage.VERIFIER, provenance=provenance_of(error), error=str(error))
        raise _StoppedError(ending) from error
    told = f"the slot did not become quiet within {QUIESCE_LIMIT_S:g} s"
    raise _StoppedError(Ending(stage=Stage.VERIFIER, provenance=Provenance.SANDBOX_LOST, error=told))


def verdict(agent: Ending, result: ToolResult) -> Ending:
    """What a verifier's result says of an agent's work.

    A verifier that fails or does not end is a no: what it ran may be the agent's own program. One that
    was never run, or whose slot was lost, says nothing.
    """
    match result.provenance:
        case Provenance.OK | Provenance.TOOL_ERROR | Provenance.LIMIT_EXCEEDED:
            solved = result.provenance is Provenance.OK
            return evolve(agent, stage=Stage.VERIFIER, solved=solved, error="" if solved else agent.error)
        case _:
            error = f"the verifier was not run: {result.error or result.provenance.value}"
            return Ending(stage=Stage.VERIFIER, provenance=result.provenance, error=error)
