"""The agent loop with a model and an executor in memory, on a virtual clock."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from hermes_trio.agents.limits import LoopLimits
from hermes_trio.agents.loop import AgentLoop
from hermes_trio.agents.prompt import task_prompt
from hermes_trio.agents.result import AgentResult, Ending
from hermes_trio.errors import InvalidInputError, Provenance, SandboxLostError
from hermes_trio.models.errors import ModelStatusError
from hermes_trio.testing.doubles import FunctionExecutor, ListedChat, is_whole, says, tool_call
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import registry_of
from hermes_trio.tools.sandbox_tools import BASH
from hermes_trio.tools.schema import ToolSchema


async def _run(model: ListedChat, executor: FunctionExecutor | None = None, **options: Any) -> AgentResult:
    loop = AgentLoop(model, options.pop("tools", None), executor or FunctionExecutor(), **options)
    return await loop.run(task_prompt("t", "do"), trajectory_id="traj-1")


async def test_a_task_is_worked_on_to_its_natural_end() -> None:
    """Two turns, one call, and the caller's own list grown in place."""
    model = ListedChat([says("looking", tool_call(), reasoning="hm"), says("done")])
    executor = FunctionExecutor()
    messages = task_prompt("t", "do")
    result = await AgentLoop(model, None, executor).run(messages, trajectory_id="traj-1")
    assert result.messages is messages
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert (result.turns_used, result.finished_naturally, result.ending) == (2, True, Ending.FINISHED)
    assert result.provenance is Provenance.OK
    assert result.reasoning_per_turn == ["hm", None]
    assert messages[2]["reasoning_content"] == "hm"
    assert result.usage.total_tokens == 6
    assert [(where, made.name, limit_s) for where, made, limit_s in executor.calls] == [
        ("traj-1", "bash", None)
    ]


async def test_reading_a_long_answer_lets_others_have_their_turn() -> None:
    """Half a million characters of what begins like a call, in steps; counted, not timed."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        short = (await _run(ListedChat([says("done")])), turns)[1]
        long = (await _run(ListedChat([says("<tool_call>" * 50_000), says("done")])), turns - short)[1]
        nursery.cancel_scope.cancel()
    assert long >= short + 15


async def test_requests_carry_the_options_and_the_default_toolset() -> None:
    """And the whole transcript each time."""
    model = ListedChat([says("", tool_call()), says("done")])
    await _run(model, temperature=0.5, max_tokens=7, extra_body={"provider": 1})
    first, second = model.requests
    names = [tool["function"]["name"] for tool in first["tools"]]
    files = ["read_file", "write_file", "edit_file", "list_files", "search_files"]
    assert names == ["terminal", "bash", *files]
    assert (first["temperature"], first["max_tokens"], first["extra_body"]) == (0.5, 7, {"provider": 1})
    assert [message["role"] for message in second["messages"][2:]] == ["assistant", "tool"]


async def test_the_executor_gets_the_limit_of_the_loop() -> None:
    """In seconds, for each call."""
    executor = FunctionExecutor()
    await _run(ListedChat([says("", tool_call()), says("done")]), executor, limits=LoopLimits(call_s=9.0))
    assert executor.calls[0][2] == 9.0


async def test_no_tools_are_offered_when_there_are_none() -> None:
    """An empty list is refused by some servers; tags in the text are then text."""
    text = '<tool_call>{"name": "bash", "arguments": {"command": "ls"}}</tool_call>'
    model = ListedChat([says(text)])
    result = await _run(model, tools=())
    assert model.requests[0]["tools"] is None
    assert result.finished_naturally
    assert result.messages[-1]["content"] == text


def test_tools_may_be_given_as_schemas_or_as_a_registry() -> None:
    """Both ways are offered to the model."""
    assert AgentLoop(ListedChat([]), [BASH], FunctionExecutor()).tools.names() == ("bash",)
    registry = registry_of("filesystem")
    assert AgentLoop(ListedChat([]), registry, FunctionExecutor()).tools.names() == registry.names()


async def test_raw_tool_call_tags_in_the_text_are_run() -> None:
    """The fallback for servers without a parser."""
    text = 'ok <tool_call>{"name": "bash", "arguments": {"command": "ls"}}</tool_call>'
    executor = FunctionExecutor()
    result = await _run(ListedChat([says(text), says("done")]), executor)
    assert executor.calls[0][1].arguments == {"command": "ls"}
    assert result.messages[2]["content"] == "ok"


async def test_the_turn_limit_is_no_natural_end() -> None:
    """Each turn called a tool."""
    result = await _run(ListedChat([says("", tool_call())]), max_turns=3)
    assert (result.turns_used, result.finished_naturally, result.ending) == (3, False, Ending.TURN_LIMIT)
    assert result.provenance is Provenance.LIMIT_EXCEEDED
    assert not result.provenance.is_infrastructure
    assert result.messages[-1]["role"] == "tool"


async def test_several_calls_of_a_turn_are_answered_in_order() -> None:
    """The good ones are run, the unknown one is told what there is."""
    calls = [tool_call(call_id="a"), tool_call("nope", call_id="b"), tool_call(call_id="c")]
    executor = FunctionExecutor()
    result = await _run(ListedChat([says("", *calls), says("done")]), executor)
    answers = [message for message in result.messages if message["role"] == "tool"]
    assert [answer["tool_call_id"] for answer in answers] == ["a", "b", "c"]
    assert "Available tools: bash" in answers[1]["content"]
    assert [made.uniq_id for _, made, _ in executor.calls] == ["a", "c"]
    assert [error.tool_name for error in result.tool_errors] == ["nope"]


async def test_bad_json_is_answered_with_its_position_and_nothing_is_run() -> None:
    """The ancestor ran the tool with no arguments."""
    executor = FunctionExecutor()
    result = await _run(ListedChat([says("", tool_call(arguments='{"command": "l')), says("done")]), executor)
    assert executor.calls == []
    (error,) = result.tool_errors
    assert (error.turn, error.arguments) == (1, '{"command": "l')
    assert "line 1 column 13 (char 12)" in result.messages[3]["content"]
    assert result.finished_naturally


async def test_the_todo_list_lives_as_long_as_one_run() -> None:
    """Two trajectories of one loop do not see each other's."""
    todo = tool_call("todo", '{"todos": [{"id": "a", "content": "A"}]}')
    loop = AgentLoop(
        ListedChat([says("", todo), says("", tool_call("todo", "{}")), says("done")]),
        None,
        FunctionExecutor(),
    )
    first = await loop.run(task_prompt("t", "do"), trajectory_id="1")
    other = AgentLoop(ListedChat([says("", tool_call("todo", "{}")), says("done")]), None, FunctionExecutor())
    second = await other.run(task_prompt("t", "do"), trajectory_id="2")
    assert json.loads(first.messages[5]["content"])["summary"]["total"] == 1
    assert json.loads(second.messages[3]["content"])["summary"]["total"] == 0


async def test_memory_and_session_search_answer_that_they_are_not_available() -> None:
    """The loop goes on, and nothing is counted as an error."""
    calls = [tool_call("memory", "{}", "a"), tool_call("session_search", "{}", "b")]
    result = await _run(ListedChat([says("", *calls), says("done")]))
    assert all("not available" in message["content"] for message in result.messages[3:5])
    assert result.tool_errors == []


async def test_an_external_tool_goes_to_the_executor_like_any_other() -> None:
    """Where it runs is the executor's business."""
    executor = FunctionExecutor()
    tools = [ToolSchema("web", external=True)]
    await _run(ListedChat([says("", tool_call("web", "{}")), says("done")]), executor, tools=tools)
    assert executor.calls[0][1].name == "web"


@pytest.mark.parametrize(
    ("failure", "says_what"),
    [
        (ModelStatusError(500, url="http://h"), "answered 500"),
        (RuntimeError("boom"), "RuntimeError: boom"),
    ],
    ids=["typed", "anything"],
)
async def test_an_api_failure_ends_the_loop_with_what_is_there(failure: Exception, says_what: str) -> None:
    """On the second turn: the first is kept, and the model is to blame."""
    result = await _run(ListedChat([says("", tool_call()), failure]))
    assert (result.turns_used, result.finished_naturally, result.ending) == (2, False, Ending.MODEL_FAILED)
    assert result.provenance is Provenance.MODEL_ERROR
    assert says_what in result.error
    assert len(result.messages) == 4


@pytest.mark.parametrize("empty", [None, {"choices": []}])
async def test_an_empty_response_ends_the_loop(empty: Any) -> None:
    """It is the server's failure, not the policy's answer."""
    result = await _run(ListedChat([empty]))
    assert (result.turns_used, result.provenance) == (1, Provenance.MODEL_ERROR)
    assert result.error == "the model answered nothing"


async def test_a_lost_sandbox_ends_the_trajectory_and_spares_the_calls_behind_it() -> None:
    """The model never reads it as output."""

    def lost(_call: ToolCall) -> ToolResult:
        return ToolResult(False, error="sandbox gone", provenance=Provenance.SANDBOX_LOST)

    executor = FunctionExecutor(lost)
    result = await _run(ListedChat([says("", tool_call(call_id="a"), tool_call(call_id="b"))]), executor)
    assert (result.ending, result.provenance) == (Ending.INFRASTRUCTURE, Provenance.SANDBOX_LOST)
    assert result.error == "sandbox gone"
    assert len(executor.calls) == 1
    assert [message["tool_call_id"] for message in result.messages[3:]] == ["a", "b"]


async def test_an_executor_that_raises_is_an_internal_error_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is not the policy's fault, and somebody must hear of it."""
    executor = FunctionExecutor(lambda _call: SandboxLostError("gone"))
    with caplog.at_level(logging.ERROR):
        result = await _run(ListedChat([says("", tool_call())]), executor)
    assert result.provenance is Provenance.INTERNAL_ERROR
    assert result.error == "Tool execution failed: SandboxLostError: gone"
    assert [error.tool_name for error in result.tool_errors] == ["bash"]
    assert "the executor failed tool=bash" in caplog.text


async def test_managed_state_is_asked_for_at_the_end() -> None:
    """Of models that have one."""

    class Managed(ListedChat):
        def get_state(self) -> dict[str, int]:
            return {"nodes": 1}

    assert (await _run(Managed([says("done")]))).managed_state == {"nodes": 1}
    assert (await _run(ListedChat([says("done")]))).managed_state is None


async def test_one_loop_serves_many_trajectories_at_once(autojump_clock: MockClock) -> None:
    """They share nothing but the model and the executor."""
    model = ListedChat([says("", tool_call())], delay_s=1.0)
    loop = AgentLoop(model, None, FunctionExecutor(delay_s=1.0), max_turns=5)
    results: list[AgentResult] = []

    async def one(trajectory_id: str) -> None:
        results.append(await loop.run(task_prompt(trajectory_id, "do"), trajectory_id=trajectory_id))

    async with trio.open_nursery() as nursery:
        for index in range(20):
            nursery.start_soon(one, f"t{index}")
    assert {result.turns_used for result in results} == {5}
    assert trio.current_time() == pytest.approx(autojump_clock.current_time())
    assert len(model.requests) == 100


@pytest.mark.parametrize("after_s", [0.0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5])
async def test_cancelling_anywhere_leaves_every_call_answered(
    after_s: float, autojump_clock: MockClock
) -> None:
    """While the model thinks, during the first, second and third call, and before anything."""
    model = ListedChat(
        [says("", tool_call(call_id="a"), tool_call("nope", call_id="b"), tool_call(call_id="c"))],
        delay_s=1.0,
    )
    messages = task_prompt("t", "do")
    with trio.move_on_after(after_s) as scope:
        await AgentLoop(model, None, FunctionExecutor(delay_s=1.0)).run(messages, trajectory_id="t")
    assert scope.cancelled_caught
    assert is_whole(messages)
    assert len(messages) == 2 + 4 * int((after_s + 2.0) // 3)


def test_a_loop_says_what_it_is_in_one_line() -> None:
    """Operators read it."""
    text = repr(AgentLoop(ListedChat([]), None, FunctionExecutor(), max_turns=4))
    assert text.endswith("7 tools, at most 4 turns>")


async def test_token_ids_go_from_the_server_to_the_result() -> None:
    """As the answer told them; one that does not is flagged."""
    ids = {"prompt_token_ids": [1, 2], "choices": [{"message": {"content": "done"}, "token_ids": [3]}]}
    told = (await _run(ListedChat([ids]))).token_trace
    assert [(call.prompt_ids, call.completion_ids) for call in told.calls()] == [((1, 2), (3,))]
    assert (await _run(ListedChat([says("done")]))).token_trace.text_only


async def test_token_ids_that_a_managed_server_keeps_are_asked_for_at_the_end() -> None:
    """Atropos's tells them in ``get_state()`` only."""

    class Managed(ListedChat):
        def get_state(self) -> Any:
            return {
                "nodes": [{"tokens": [1, 2, 3], "masked_tokens": [-100, -100, 3], "logprobs": [1, 1, -0.5]}]
            }

    trace = (await _run(Managed([says("done")]))).token_trace
    assert [(call.prompt_ids, call.completion_ids, call.logprobs) for call in trace.calls()] == [
        ((1, 2), (3,), (-0.5,))
    ]


async def test_the_parser_of_another_dialect_is_chosen_by_name() -> None:
    """And none at all: then text is text."""
    text = '<tool_call>{"name": "bash", "arguments": {"command": "ls"}}</tool_call>'
    executor = FunctionExecutor()
    assert (await _run(ListedChat([says(text)]), executor, parser=None)).finished_naturally
    assert executor.calls == []
    with pytest.raises(InvalidInputError, match="unknown parser 'klingon'"):
        AgentLoop(ListedChat([]), None, executor, parser="klingon")


async def test_a_call_in_the_text_that_cannot_be_read_is_told_to_the_model() -> None:
    """It writes it again, and that one runs."""
    call = '<tool_call>{"name": "bash", "arguments": {"command": "ls"}}</tool_call>'
    executor = FunctionExecutor()
    result = await _run(ListedChat([says(call.replace("}}", "}")), says(call), says("done")]), executor)
    assert [made.arguments for _, made, _ in executor.calls] == [{"command": "ls"}]
    assert result.messages[3]["role"] == "user"
    assert "not readable" in result.messages[3]["content"]
    assert [error.tool_name for error in result.tool_errors] == [""]
    assert result.finished_naturally
