"""Calls of one turn at once, the limits around them, hooks, sub-agents, and a cancel anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import trio
import trio.testing
from attrs import define, field

from hermes_trio.agents.hooks import TurnHook, TurnRecord
from hermes_trio.agents.limits import LoopLimits
from hermes_trio.agents.loop import AgentLoop
from hermes_trio.agents.result import AgentResult, Ending
from hermes_trio.agents.sub_agent import SubAgent
from hermes_trio.errors import InvalidInputError, Provenance
from hermes_trio.executor.executor import open_executor
from hermes_trio.testing.checkpoints import cancel_at_every_checkpoint
from hermes_trio.testing.doubles import FunctionExecutor, ListedChat, is_whole, says, tool_call
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import ToolRegistry
from hermes_trio.tools.sandbox_tools import BASH
from hermes_trio.tools.schema import ToolSchema
from hermes_trio.tools.tool import Tool, ToolContext

WEB = ToolSchema("web", parameters={"seconds": {"type": "number"}}, external=True)
TOOLS = [BASH, WEB]
LOST = ToolResult(False, error="gone", provenance=Provenance.SANDBOX_LOST)


def web(seconds: float, call_id: str) -> dict[str, Any]:
    """A call that takes so long."""
    return tool_call("web", json.dumps({"seconds": seconds}), call_id)


def seconds_of(call: ToolCall) -> float:
    """How long a call asks to take; a command takes one second."""
    return float(call.arguments.get("seconds", 1.0))


async def run(model: ListedChat, executor: FunctionExecutor, **options: Any) -> AgentResult:
    """One trajectory with both kinds of tools."""
    loop = AgentLoop(model, options.pop("tools", TOOLS), executor, **options)
    return await loop.run([{"role": "user", "content": "go"}], trajectory_id="t")


async def test_calls_outside_the_slot_run_at_once_and_are_answered_in_order(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Five seconds for five calls of up to five seconds; the last to be called was the first to end."""
    executor = FunctionExecutor(delay_s=seconds_of)
    calls = [web(seconds, str(seconds)) for seconds in (5, 4, 3, 2, 1)]
    result = await run(ListedChat([says("", *calls), says("done")]), executor)
    assert trio.current_time() == pytest.approx(5.0)
    assert [each["tool_call_id"] for each in result.messages if each["role"] == "tool"] == list("54321")


async def test_calls_of_the_slot_keep_the_models_order_beside_the_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Three commands of one second after another, and a call of three seconds meanwhile."""
    executor = FunctionExecutor(delay_s=seconds_of)
    calls = [tool_call(call_id="a"), web(3, "w"), tool_call(call_id="b"), tool_call(call_id="c")]
    await run(ListedChat([says("", *calls), says("done")]), executor)
    assert trio.current_time() == pytest.approx(3.0)
    assert executor.most_running == 2
    assert [call.uniq_id for _, call, _ in executor.calls if call.name == "bash"] == ["a", "b", "c"]


async def test_no_more_calls_run_at_once_than_may(autojump_clock: trio.testing.MockClock) -> None:
    """Twelve calls, three at a time."""
    executor = FunctionExecutor(delay_s=seconds_of)
    calls = [web(1, str(index)) for index in range(12)]
    limits = LoopLimits(parallel_calls=3)
    await run(ListedChat([says("", *calls), says("done")]), executor, limits=limits)
    assert (executor.most_running, len(executor.calls)) == (3, 12)
    assert trio.current_time() == pytest.approx(4.0)


async def test_a_lost_sandbox_ends_the_calls_beside_it(autojump_clock: trio.testing.MockClock) -> None:
    """The trajectory is over; nobody waits for a call of an hour."""
    executor = FunctionExecutor(lambda _call: LOST, delay_s=seconds_of)
    calls = [web(3600, "w"), tool_call(call_id="a"), tool_call(call_id="b")]
    result = await run(ListedChat([says("", *calls)]), executor)
    assert (result.ending, result.provenance) == (Ending.INFRASTRUCTURE, Provenance.SANDBOX_LOST)
    assert trio.current_time() == pytest.approx(1.0)
    assert (executor.running, len(executor.calls)) == (0, 2)
    assert is_whole(result.messages)


async def test_calls_that_end_in_the_moment_of_a_loss_are_no_bug() -> None:
    """Both are woken by the same event; the second finds that the first has ended the conversation."""
    gone = trio.Event()

    class Lost(FunctionExecutor):
        async def execute(
            self, trajectory_id: str, call: ToolCall, *, limit_s: float | None = None
        ) -> ToolResult:
            await gone.wait()
            return LOST

    async with trio.open_nursery() as nursery:
        results: list[AgentResult] = []

        async def go() -> None:
            results.append(await run(ListedChat([says("", web(1, "v"), web(1, "w"))]), Lost()))

        nursery.start_soon(go)
        await trio.testing.wait_all_tasks_blocked()
        gone.set()
    assert results[0].ending is Ending.INFRASTRUCTURE
    assert is_whole(results[0].messages)


async def test_a_call_past_the_turns_time_is_ended_and_the_model_hears_of_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The quick one keeps its answer."""
    executor = FunctionExecutor(delay_s=seconds_of)
    model = ListedChat([says("", web(3600, "w"), web(1, "v")), says("done")])
    result = await run(model, executor, limits=LoopLimits(turn_s=5.0))
    assert result.finished_naturally
    assert trio.current_time() == pytest.approx(5.0)
    assert "the turn's time of 5 s was over" in result.messages[2]["content"]
    assert "out" in result.messages[3]["content"]
    assert executor.running == 0


async def test_a_model_past_the_turns_time_failed(autojump_clock: trio.testing.MockClock) -> None:
    """A hung server is masked, not trained on."""
    model = ListedChat([says("done")], delay_s=3600)
    result = await run(model, FunctionExecutor(), limits=LoopLimits(turn_s=5.0))
    assert (result.ending, result.provenance) == (Ending.MODEL_FAILED, Provenance.MODEL_ERROR)
    assert (trio.current_time(), result.turns_used) == (pytest.approx(5.0), 1)


async def test_the_trajectorys_time_is_the_outermost_limit(autojump_clock: trio.testing.MockClock) -> None:
    """It comes in the second turn, in the middle of its call."""
    model = ListedChat([says("", web(4, "w"))])
    limits = LoopLimits(trajectory_s=6.0, turn_s=5.0)
    result = await run(model, FunctionExecutor(delay_s=seconds_of), limits=limits)
    assert (result.ending, result.provenance) == (Ending.TIME_LIMIT, Provenance.LIMIT_EXCEEDED)
    assert trio.current_time() == pytest.approx(6.0)
    assert result.turns_used == 2
    assert is_whole(result.messages)


async def test_the_token_budget_is_asked_for_turn_by_turn() -> None:
    """Each answer of the double is one token."""
    model = ListedChat([says("", tool_call())])
    result = await run(model, FunctionExecutor(), limits=LoopLimits(generated_tokens=3))
    assert [request["max_tokens"] for request in model.requests] == [3, 2, 1]
    assert result.ending is Ending.TOKEN_LIMIT


# --- hooks ------------------------------------------------------------------------------------------------


@define
class Watcher(TurnHook):
    """Keeps what it is told; adds a message before the second turn; stops after some turn."""

    stop_after: int = 99
    told: list[TurnRecord] = field(factory=list)

    async def before_turn(
        self, turn: int, messages: Sequence[Mapping[str, Any]]
    ) -> Sequence[Mapping[str, Any]]:
        """See the class."""
        return [{"role": "user", "content": "hurry"}] if turn == 2 else ()

    async def after_turn(self, turn: TurnRecord) -> bool:
        """See the class."""
        self.told.append(turn)
        return turn.turn >= self.stop_after


async def test_a_hook_sees_each_turn_and_may_speak_before_it(autojump_clock: trio.testing.MockClock) -> None:
    """The message is in the request, and in front of the model's answer."""
    model = ListedChat([says("", tool_call("nope", "{}", "n"), tool_call()), says("done")], delay_s=1.0)
    watcher = Watcher()
    await run(model, FunctionExecutor(delay_s=1.0), hooks=[watcher, TurnHook()])
    first, second = watcher.told
    assert (first.turn, first.finished, first.duration_s) == (1, False, pytest.approx(2.0))
    assert [message["role"] for message in first.messages] == ["assistant", "tool", "tool"]
    assert [error.tool_name for error in first.tool_errors] == ["nope"]
    assert (second.turn, second.finished, len(second.messages)) == (2, True, 1)
    assert model.requests[1]["messages"][-1] == {"role": "user", "content": "hurry"}


async def test_a_hook_may_stop_the_loop_between_two_turns() -> None:
    """It is neither a natural end nor a failure."""
    result = await run(ListedChat([says("", tool_call())]), FunctionExecutor(), hooks=[Watcher(stop_after=2)])
    assert (result.ending, result.provenance, result.turns_used) == (Ending.STOPPED, Provenance.OK, 2)
    assert not result.finished_naturally


async def test_a_hook_that_raises_leaves_a_whole_transcript() -> None:
    """Its own exception comes out."""

    class Broken(TurnHook):
        async def after_turn(self, turn: TurnRecord) -> bool:
            raise RuntimeError("mine")

    messages = [{"role": "user", "content": "go"}]
    loop = AgentLoop(ListedChat([says("", tool_call())]), TOOLS, FunctionExecutor(), hooks=[Broken()])
    with pytest.raises(RuntimeError, match="mine"):
        await loop.run(messages, trajectory_id="t")
    assert is_whole(messages)


# --- sub-agents -------------------------------------------------------------------------------------------


def helper(model: ListedChat, executor: FunctionExecutor, **options: Any) -> SubAgent:
    """A sub-agent with the same tools."""
    loop = AgentLoop(model, TOOLS, executor, **options)
    return SubAgent(name="helper", description="Helps.", loop=loop, system_prompt="You help.")


def ask(task: str = "look") -> dict[str, Any]:
    """A call of the sub-agent."""
    return tool_call("helper", json.dumps({"task": task}), "h")


async def test_a_sub_agent_is_a_branch_of_the_transcript() -> None:
    """It works in the same slot; the parent reads its last words only."""
    executor = FunctionExecutor()
    agent = helper(ListedChat([says("", tool_call()), says("it is blue")]), executor)
    model = ListedChat([says("", ask()), says("done")])
    result = await run(model, executor, sub_agents=[agent])
    (branch,) = result.branches
    assert (branch.call_id, branch.tool_name, branch.turn) == ("h", "helper", 1)
    assert [each["role"] for each in branch.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert branch.result is not None
    assert branch.result.finished_naturally
    assert json.loads(result.messages[2]["content"])["output"] == "it is blue"
    assert [where for where, _, _ in executor.calls] == ["t"]
    assert [tool["function"]["name"] for tool in model.requests[0]["tools"]] == ["bash", "web", "helper"]


async def test_a_sub_agent_pays_from_its_parents_budget() -> None:
    """Its two tokens and the parent's one leave seven."""
    agent = helper(ListedChat([says("", tool_call()), says("x")]), FunctionExecutor())
    model = ListedChat([says("", ask()), says("done")])
    limits = LoopLimits(generated_tokens=10)
    await run(model, FunctionExecutor(), sub_agents=[agent], limits=limits)
    assert [request["max_tokens"] for request in model.requests] == [10, 7]


async def test_a_sub_agent_that_runs_out_of_turns_is_a_failed_call() -> None:
    """What it said last is there, and the parent goes on."""
    agent = helper(ListedChat([says("still looking", tool_call())]), FunctionExecutor(), max_turns=2)
    result = await run(ListedChat([says("", ask()), says("done")]), FunctionExecutor(), sub_agents=[agent])
    answer = json.loads(result.messages[2]["content"])
    assert answer["output"] == "still looking"
    assert answer["error"] == "The sub-agent did not finish: turn_limit"
    assert result.finished_naturally


async def test_a_sub_agents_lost_sandbox_is_its_parents() -> None:
    """They share the slot."""
    executor = FunctionExecutor(lambda _call: LOST)
    agent = helper(ListedChat([says("", tool_call())]), executor)
    result = await run(ListedChat([says("", ask())]), executor, sub_agents=[agent])
    assert (result.ending, result.provenance) == (Ending.INFRASTRUCTURE, Provenance.SANDBOX_LOST)


async def test_a_branch_that_is_cut_off_is_whole_too(autojump_clock: trio.testing.MockClock) -> None:
    """The parent's time is over while the sub-agent's command runs."""
    executor = FunctionExecutor(delay_s=100.0)
    agent = helper(ListedChat([says("", tool_call())]), executor)
    limits = LoopLimits(trajectory_s=5.0)
    result = await run(ListedChat([says("", ask())]), executor, sub_agents=[agent], limits=limits)
    (branch,) = result.branches
    assert branch.result is None
    assert is_whole(branch.messages)
    assert len(branch.messages) == 4
    assert is_whole(result.messages)


def test_a_sub_agents_tool_is_no_executors_business() -> None:
    """Its handler is there to give it a lane; a call that reaches it is a bug."""
    agent = helper(ListedChat([]), FunctionExecutor())
    handler = agent.tool().handler
    assert handler is not None
    with pytest.raises(AssertionError, match="helper was sent to an executor"):
        handler(ToolCall("helper", {}), ToolContext())


def test_a_sub_agent_needs_a_name_of_its_own() -> None:
    """Two tools of one name could not be told apart."""
    agent = SubAgent(name="bash", description="", loop=AgentLoop(ListedChat([]), None, FunctionExecutor()))
    with pytest.raises(InvalidInputError, match="'bash' is already registered"):
        AgentLoop(ListedChat([]), TOOLS, FunctionExecutor(), sub_agents=[agent])


# --- one road ---------------------------------------------------------------------------------------------


async def test_a_handler_that_the_executor_does_not_have_is_refused_at_once() -> None:
    """Not when the model first calls it."""

    async def handler(call: ToolCall, context: ToolContext) -> ToolResult:
        await trio.lowlevel.checkpoint()
        return ToolResult(True)

    tools = ToolRegistry([Tool(ToolSchema("mine"), handler=handler)])
    async with open_executor(MemoryBackend({"d": FakeDaemon(slots=1)})) as executor:
        with pytest.raises(InvalidInputError, match="'mine' is offered, but the executor does not have it"):
            AgentLoop(ListedChat([]), tools, executor)
    async with open_executor(MemoryBackend({"d": FakeDaemon(slots=1)}), tools=tools) as executor:
        assert AgentLoop(ListedChat([]), tools, executor).tools.names() == ("mine",)


async def test_cancelling_at_every_checkpoint_leaves_a_whole_transcript_and_a_quiet_slot(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Real executor and session, a daemon in memory; two commands, an unknown tool and a sub-agent."""
    daemon = FakeDaemon(slots=1)
    transcripts: list[list[dict[str, Any]]] = []
    sleep = json.dumps({"command": "sleep 1"})
    async with open_executor(MemoryBackend({"d": daemon})) as executor:

        async def whole_life() -> None:
            agent = SubAgent(
                name="helper",
                description="",
                loop=AgentLoop(ListedChat([says("", tool_call("bash", sleep)), says("x")]), [BASH], executor),
            )
            calls = [tool_call("bash", sleep, "a"), tool_call("nope"), tool_call("bash", sleep, "b"), ask()]
            model = ListedChat([says("", *calls), says("done")], delay_s=1.0)
            messages: list[dict[str, Any]] = [{"role": "user", "content": "go"}]
            transcripts.append(messages)
            loop = AgentLoop(model, [BASH], executor, sub_agents=[agent])
            assert (await loop.run(messages, trajectory_id="t")).finished_naturally

        async def check() -> None:
            await executor.quiesce("t")
            assert executor.statistics().in_flight == 0
            assert not any(slot.queue for slot in daemon.slots.values())
            assert is_whole(transcripts[-1])
            await executor.release("t")

        with trio.fail_after(10_000):
            report = await cancel_at_every_checkpoint(whole_life, check=check)
    assert report.cancelled > 10
    assert len(transcripts[-1]) == 7
