"""Rollouts under the virtual clock: the real executor on a daemon in memory, a model without HTTP."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from attrs import define, field

from hermes_trio.errors import HermesTrioError, InvalidInputError, LinkLostError, Provenance, UnavailableError
from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.executor.quiet import QuietSlot
from hermes_trio.rollouts import trajectory
from hermes_trio.rollouts.group import Assignment
from hermes_trio.rollouts.record import Outcome, Stage, TrajectoryRecord
from hermes_trio.rollouts.runner import RolloutConfig, run_rollouts
from hermes_trio.rollouts.tasks import Task, TaskLimits
from hermes_trio.rollouts.trajectory import AgentOptions, asked_limit_s, run_trajectory
from hermes_trio.testing.checkpoints import cancel_at_every_checkpoint
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.calls import ToolCall, ToolResult


@define
class Model:
    """Says the commands one after another, then that it is done. Counts what it is asked."""

    commands: Sequence[str | Mapping[str, Any]] = ("true",)
    failure: HermesTrioError | None = None
    asked: int = 0

    async def complete(self, messages: Sequence[Mapping[str, Any]], **_options: Any) -> Any:
        """The next command, or the end."""
        self.asked += 1
        await trio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        turn = sum(message["role"] == "assistant" for message in messages)
        if turn == len(self.commands):
            return {"message": {"content": "Done."}}
        command = self.commands[turn]
        arguments = {"command": command} if isinstance(command, str) else dict(command)
        return {"message": {"tool_calls": [{"id": f"c{turn}", "name": "bash", "arguments": arguments}]}}


@define
class Wrapped:
    """An executor of which one method goes wrong."""

    executor: Executor
    on_execute: Mapping[str, ToolResult | Exception] = field(factory=dict)
    on_quiesce: Exception | None = None
    quiesce_s: float = 0.0
    asked: list[tuple[str, float | None]] = field(factory=list)

    async def execute(
        self, trajectory_id: str, call: ToolCall, *, limit_s: float | None = None
    ) -> ToolResult:
        """Answered here when told so, else by the executor."""
        told = await self.told(call, limit_s)
        return told or await self.executor.execute(trajectory_id, call, limit_s=limit_s)

    async def told(self, call: ToolCall, limit_s: float | None) -> ToolResult | None:
        """What this test wants for an answer."""
        told = self.on_execute.get(call.arguments.get("command", ""))
        self.asked.append((call.arguments.get("command", ""), limit_s))
        await trio.lowlevel.checkpoint()
        if isinstance(told, Exception):
            raise told
        return told

    async def quiesce(self, trajectory_id: str) -> QuietSlot:
        """As told."""
        await trio.sleep(self.quiesce_s)
        if self.on_quiesce is not None:
            raise self.on_quiesce
        quiet = await self.executor.quiesce(trajectory_id)

        async def execute(_trajectory_id: str, call: ToolCall, *, limit_s: float | None = None) -> ToolResult:
            return await self.told(call, limit_s) or await quiet.execute(call, limit_s=limit_s)

        return QuietSlot(trajectory_id, execute=execute, reopen=lambda _: quiet.reopen())

    async def release(self, trajectory_id: str, *, reset_workspace: bool = True) -> None:
        """The executor's own."""
        await self.executor.release(trajectory_id, reset_workspace=reset_workspace)


@asynccontextmanager
async def running(slots: int = 4) -> AsyncIterator[tuple[Executor, FakeDaemon]]:
    """An executor on a daemon in memory, all of whose slots are free again at the end."""
    daemon = FakeDaemon(slots=slots)
    async with open_executor(MemoryBackend({"d": daemon}), config=ExecutorConfig()) as executor:
        yield executor, daemon
        assert daemon.free == slots


def make_task(task_id: str = "a", verifier: str = "true", **fields: Any) -> Task:
    """A task with a verifier that says yes."""
    return Task(id=task_id, prompt="Do it.", verifier=verifier, **fields)


async def run_one(task: Task, executor: Any, model: Model | None = None, **options: Any) -> TrajectoryRecord:
    """One trajectory of one task."""
    return await run_trajectory(
        Assignment(task=task, index=0),
        model=model or Model(),
        executor=executor,
        options=AgentOptions(**options),
    )


async def test_a_trajectory_goes_from_set_up_to_verdict_in_one_slot(autojump_clock):
    """Files, set-up, the agent's calls, quiet, the verifier; then the slot is given back."""
    task = make_task(files={"a.txt": "hi", "b/c.txt": "ho"}, setup=("echo one", "echo two"))
    async with running(slots=1) as (executor, daemon):
        record = await run_one(task, executor, Model(["echo x", "sleep 0.5"]))
    assert [entry[1] for entry in daemon.history] == [
        "slot.acquire",
        "bash",
        "write_file",
        "write_file",
        *["bash"] * 4,
        "slot.quiesce",
        "bash",
        "slot.release",
    ]
    assert record.ending.outcome is Outcome.SOLVED
    assert (record.turns, record.finished_naturally, record.isolation) == (3, True, "none")
    assert [call.tool for call in record.calls] == ["bash", "bash"]
    assert record.calls[1].latency_s == pytest.approx(0.5)
    assert record.messages[-1]["content"] == "Done."


@pytest.mark.parametrize("verifier", ["false", "sleep 1000", "no-such-program"])
async def test_a_verifier_that_fails_or_never_ends_is_a_no(autojump_clock, verifier):
    """What it ran may be the agent's own program."""
    async with running() as (executor, _):
        record = await run_one(make_task(verifier=verifier), executor)
    assert (record.ending.outcome, record.ending.reward) == (Outcome.UNSOLVED, 0.0)


async def test_turns_that_run_out_are_graded(autojump_clock):
    """Solved is solved; unsolved has the limit for its reason."""
    async with running() as (executor, _):
        solved = await run_one(make_task(), executor, Model(["true"] * 9), max_turns=3)
        failed = await run_one(make_task(verifier="false"), executor, Model(["true"] * 9), max_turns=3)
    assert (solved.turns, solved.finished_naturally, solved.ending.reward) == (3, False, 1.0)
    assert (failed.ending.outcome, failed.ending.reward) == (Outcome.LIMIT_EXCEEDED, 0.0)


async def test_a_task_may_allow_fewer_turns_than_the_run(autojump_clock):
    """The tighter limit counts."""
    task = make_task(limits=TaskLimits(turns=2))
    async with running() as (executor, _):
        record = await run_one(task, executor, Model(["true"] * 9), max_turns=5)
    assert record.turns == 2


async def test_the_trajectory_limit_ends_the_agent_in_the_middle_and_grading_still_happens(autojump_clock):
    """The transcript is whole: each call in it is answered."""
    task = make_task(verifier="false", limits=TaskLimits(call_s=20.0, trajectory_s=50.0))
    async with running() as (executor, daemon):
        record = await run_one(task, executor, Model(["sleep 15"] * 9))
    assert record.ending.outcome is Outcome.LIMIT_EXCEEDED
    assert record.ending.error == "the time of the trajectory, 50 s, was over"
    assert record.ending.reward == 0.0
    assert (record.turns, len(record.calls)) == (4, 3)
    asked = [call["id"] for message in record.messages for call in message.get("tool_calls", ())]
    answered = [message["tool_call_id"] for message in record.messages if message["role"] == "tool"]
    assert asked == answered
    assert record.duration_s == pytest.approx(50.0, abs=0.1)
    assert daemon.history[-2][2]["command"] == "false"


async def test_a_call_has_the_tasks_limit_and_the_model_may_only_tighten_it(autojump_clock):
    """The deadline tree: no call outlives what its task allows."""
    task = make_task(limits=TaskLimits(call_s=20.0))
    commands = ["sleep 100", {"command": "true", "timeout": 5}, {"command": "false", "timeout": 500}]
    async with running() as (executor, _):
        wrapped = Wrapped(executor)
        record = await run_one(task, wrapped, Model(commands))
    assert wrapped.asked == [
        ("true", 20.0),
        ("sleep 100", 20.0),
        ("true", 5),
        ("false", 20.0),
        ("true", 20.0),
    ]
    assert record.calls[0].provenance is Provenance.LIMIT_EXCEEDED


@pytest.mark.parametrize(
    ("timeout", "limit_s"),
    [(None, None), (True, None), ("9", None), (0, None), (-1, None), (2, 2), (0.5, 0.5)],
)
def test_only_a_number_of_seconds_is_a_limit(timeout, limit_s):
    """What else a model puts there is not."""
    assert asked_limit_s({"timeout": timeout}) == (float("inf") if limit_s is None else limit_s)


async def test_waiting_for_a_slot_is_not_charged_to_the_trajectory(autojump_clock):
    """Two trajectories of thirty seconds in one slot, each with a limit of forty."""
    task = make_task(limits=TaskLimits(trajectory_s=40.0))
    records = []
    async with running(slots=1) as (executor, _):
        await run_rollouts(
            [task],
            model=Model(["sleep 10"] * 3),
            executor=executor,
            on_finished=records.append,
            config=RolloutConfig(group_size=3),
        )
    assert [record.ending.outcome for record in records] == [Outcome.SOLVED] * 3
    assert all(record.duration_s < 31 for record in records)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"setup": ("true", "exit 4")}, "set-up command 2: Exit code: 4"),
        ({"setup": ("echo why && exit 4",)}, "set-up command 1: Exit code: 4 (why)"),
        ({"files": {"a": "x" * 100_001}}, "file 'a': "),
    ],
)
async def test_a_task_that_cannot_be_set_up_is_masked_not_failed(autojump_clock, fields, error):
    """The policy was never asked."""
    model = Model()
    async with running() as (executor, _):
        refused = ToolResult(False, error="Content too large", provenance=Provenance.TOOL_ERROR)
        wrapped = Wrapped(executor, on_execute={"": refused})
        record = await run_one(make_task(**fields), wrapped, model)
    assert (record.ending.outcome, record.ending.reward) == (Outcome.TASK_ERROR, None)
    assert record.ending.stage is Stage.SETUP
    assert record.ending.error.startswith(error)
    assert model.asked == 0


async def test_a_set_up_that_takes_all_the_time_is_masked(autojump_clock):
    """It is the task's fault."""
    task = make_task(setup=("sleep 8",) * 9, limits=TaskLimits(call_s=10.0, trajectory_s=20.0))
    async with running() as (executor, _):
        record = await run_one(task, executor)
    assert record.ending.outcome is Outcome.TASK_ERROR
    assert record.ending.error == "the set-up took longer than limits.trajectory_s, 20 s"


async def test_a_model_that_fails_is_masked_and_its_slot_is_not_graded(autojump_clock):
    """The verifier would grade what the policy had no chance to do."""
    async with running() as (executor, daemon):
        record = await run_one(make_task(), executor, Model(failure=UnavailableError("The model is away.")))
    assert (record.ending.outcome, record.ending.reward) == (Outcome.MODEL_ERROR, None)
    assert "The model is away." in record.ending.error
    assert "slot.quiesce" not in [entry[1] for entry in daemon.history]


async def test_a_lost_sandbox_is_masked(autojump_clock):
    """Whether it was lost under the agent or under the verifier."""
    lost = ToolResult(False, error="gone", provenance=Provenance.SANDBOX_LOST)
    async with running() as (executor, _):
        agent = await run_one(make_task(), Wrapped(executor, {"echo a": lost}), Model(["echo a"]))
        verifier = await run_one(make_task(verifier="echo v"), Wrapped(executor, {"echo v": lost}))
        setup = await run_one(make_task(setup=("echo s",)), Wrapped(executor, {"echo s": lost}))
    for record in (agent, verifier, setup):
        assert (record.ending.outcome, record.ending.reward) == (Outcome.SANDBOX_LOST, None)
    assert [r.ending.stage for r in (agent, verifier, setup)] == [Stage.AGENT, Stage.VERIFIER, Stage.SETUP]
    assert verifier.ending.error == "the verifier was not run: gone"
    assert verifier.turns == 2


async def test_a_slot_that_does_not_become_quiet_is_not_graded(autojump_clock):
    """Something could still write while the verifier looks."""
    async with running() as (executor, _):
        slow = await run_one(make_task(), Wrapped(executor, quiesce_s=1000.0))
        lost = await run_one(make_task(), Wrapped(executor, on_quiesce=LinkLostError("the link went")))
    assert slow.ending.outcome is Outcome.SANDBOX_LOST
    assert slow.ending.error == "the slot did not become quiet within 30 s"
    assert (lost.ending.outcome, lost.ending.error) == (Outcome.LINK_LOST, "the link went")
    assert slow.turns == lost.turns == 2


async def test_a_verifier_that_was_refused_says_nothing(autojump_clock):
    """The task is at fault: masked."""
    denied = ToolResult(False, error="not here", provenance=Provenance.DENIED)
    async with running() as (executor, _):
        record = await run_one(make_task(verifier="echo v"), Wrapped(executor, {"echo v": denied}))
    assert (record.ending.outcome, record.ending.reward) == (Outcome.TASK_ERROR, None)


async def test_a_crash_in_one_trajectory_costs_only_that_one(autojump_clock, caplog):
    """Its group and the run go on; the crash is logged and typed."""
    caplog.set_level(logging.CRITICAL, logger="hermes_trio.rollouts.runner")
    records: dict[str, TrajectoryRecord] = {}
    tasks = [make_task("a", setup=("echo a",)), make_task("b")]
    async with running() as (executor, _):
        await run_rollouts(
            tasks,
            model=Model(),
            executor=Wrapped(executor, {"echo a": ZeroDivisionError("oops")}),
            on_finished=lambda record: records.update({record.trajectory_id: record}),
            config=RolloutConfig(group_size=2, concurrency=2),
        )
    assert sorted(records) == ["a:0", "a:1", "b:0", "b:1"]
    assert [records[name].ending.outcome for name in sorted(records)] == [
        *[Outcome.INTERNAL_ERROR] * 2,
        *[Outcome.SOLVED] * 2,
    ]
    assert records["a:0"].ending.error == "ZeroDivisionError: oops"


async def test_no_more_trajectories_live_than_allowed(autojump_clock):
    """Whatever the number of slots, and all of them get their turn."""
    peak = 0

    async def watch(executor: Executor) -> None:
        nonlocal peak
        while True:
            peak = max(peak, executor.statistics().in_flight)
            await trio.sleep(0.1)

    records = []
    async with running(slots=8) as (executor, _), trio.open_nursery() as nursery:
        nursery.start_soon(watch, executor)
        await run_rollouts(
            [make_task(f"t{n}") for n in range(6)],
            model=Model(["sleep 3"]),
            executor=executor,
            on_finished=records.append,
            config=RolloutConfig(group_size=2, concurrency=3),
        )
        nursery.cancel_scope.cancel()
    assert peak == 3
    assert len(records) == 12


async def test_one_slow_trajectory_does_not_hold_up_the_others(autojump_clock):
    """Records come in the order in which trajectories finish."""
    slow = make_task("slow", setup=("sleep 25",))
    tasks = [slow, *(make_task(f"t{n}") for n in range(20))]
    finished: list[tuple[str, float]] = []
    async with running(slots=2) as (executor, _):
        started = trio.current_time()
        await run_rollouts(
            tasks,
            model=Model(["sleep 1"]),
            executor=executor,
            on_finished=lambda record: finished.append((record.task_id, trio.current_time() - started)),
            config=RolloutConfig(concurrency=2),
        )
    assert finished[-1][0] == "slow"
    assert finished[-1][1] == pytest.approx(26.0, abs=0.5)
    assert finished[-2][1] == pytest.approx(20.0, abs=0.5)


async def test_a_record_that_cannot_be_kept_ends_the_run(autojump_clock):
    """Losing results in silence would be worse."""

    def refuse(_record: TrajectoryRecord) -> None:
        raise UnavailableError("disk full")

    async with running() as (executor, _):
        with pytest.RaisesGroup(UnavailableError):
            await run_rollouts([make_task()], model=Model(), executor=executor, on_finished=refuse)


async def test_a_cancelled_run_keeps_what_was_finished_and_gives_every_slot_back(autojump_clock):
    """Those under way leave no record; no command goes on."""
    records = []
    async with running(slots=2) as (executor, daemon):
        with trio.move_on_after(25):
            await run_rollouts(
                [make_task(f"t{n}") for n in range(9)],
                model=Model(["sleep 10"]),
                executor=executor,
                on_finished=records.append,
                config=RolloutConfig(concurrency=2),
            )
        assert len(records) == 4
        assert daemon.free == 2


@define
class OneSlot:
    """The smallest executor: remembers who holds its slot."""

    held: bool = False

    async def execute(
        self, trajectory_id: str, call: ToolCall, *, limit_s: float | None = None
    ) -> ToolResult:
        """Take the slot, wait a little, succeed."""
        self.held = True
        await trio.sleep(0.1)
        return ToolResult(True, metadata={"isolation": "ns"})

    async def quiesce(self, trajectory_id: str) -> QuietSlot:
        """At once."""
        await trio.lowlevel.checkpoint()
        return QuietSlot(trajectory_id, execute=self.execute, reopen=lambda _: None)

    async def release(self, trajectory_id: str, *, reset_workspace: bool = True) -> None:
        """Takes a moment."""
        assert reset_workspace
        await trio.sleep(0.1)
        self.held = False


async def test_cancelling_a_trajectory_anywhere_gives_its_slot_back(autojump_clock):
    """At each of its checkpoints."""
    slot = OneSlot()

    async def body() -> None:
        await run_one(make_task(files={"a": "b"}, setup=("true",)), slot, Model(["true"]))

    async def check() -> None:
        await trio.lowlevel.checkpoint()
        assert not slot.held

    report = await cancel_at_every_checkpoint(body, check=check)
    assert report.cancelled > 10


async def test_a_release_that_hangs_is_given_up(autojump_clock):
    """Ten seconds, cancelled or not; the executor goes on with it."""

    class Hanging(OneSlot):
        async def release(self, trajectory_id: str, *, reset_workspace: bool = True) -> None:
            """Never done."""
            await trio.sleep_forever()

    started = trio.current_time()
    record = await run_one(make_task(), Hanging())
    assert record.ending.outcome is Outcome.SOLVED
    assert trio.current_time() - started == pytest.approx(10.3, abs=0.2)


@pytest.mark.parametrize("field_name", ["group_size", "concurrency"])
def test_a_run_of_nothing_is_refused(field_name):
    """By the name of the setting."""
    with pytest.raises(InvalidInputError) as caught:
        RolloutConfig(**{field_name: 0})
    assert caught.value.field == field_name


def test_the_bounds_of_grading_and_release_are_finite():
    """They stand in docstrings."""
    assert (trajectory.QUIESCE_LIMIT_S, trajectory.RELEASE_LIMIT_S) == (30.0, 10.0)
