"""What the ancestor's agent loop did, behaviour by behaviour, under its own names for them.

Where ours does better on purpose, the test's first line says so.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from hermes_trio.agents.loop import AgentLoop
from hermes_trio.agents.result import AgentResult, Ending
from hermes_trio.errors import Provenance
from hermes_trio.testing.doubles import FunctionExecutor, ListedChat, says, tool_call
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import registry_of

RAW = '<tool_call>{"name": "bash", "arguments": {"command": "ls"}}</tool_call>'


def start() -> list[dict[str, Any]]:
    """A task."""
    return [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]


async def run(*answers: Any, executor: FunctionExecutor | None = None, **options: Any) -> AgentResult:
    """One trajectory."""
    tools = options.pop("tools", None)
    loop = AgentLoop(ListedChat(answers), tools, executor or FunctionExecutor(), **options)
    return await loop.run(start(), trajectory_id="t")


def tool_messages(result: AgentResult) -> list[dict[str, Any]]:
    """The answers to calls."""
    return [message for message in result.messages if message["role"] == "tool"]


async def test_messages_are_modified_in_place() -> None:
    """The caller's list is the conversation."""
    messages = start()
    result = await AgentLoop(ListedChat([says("done")]), None, FunctionExecutor()).run(
        messages, trajectory_id="t"
    )
    assert result.messages is messages
    assert messages[2:] == [{"role": "assistant", "content": "done"}]


@pytest.mark.parametrize("given", [{}, {"max_tokens": 5, "extra_body": {"provider": {"ignore": ["x"]}}}])
async def test_optional_request_members_are_passed_only_when_set(given: dict[str, Any]) -> None:
    """``None`` is what a client does not send; the temperature is always passed."""
    model = ListedChat([says("done")])
    await AgentLoop(model, None, FunctionExecutor(), temperature=0.7, **given).run(start(), trajectory_id="t")
    (request,) = model.requests
    assert request["temperature"] == 0.7
    assert (request["max_tokens"], request["extra_body"]) == (
        given.get("max_tokens"),
        given.get("extra_body"),
    )


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ([{"role": "user", "content": "  find it \n"}], "find it"),
        ([{"role": "user", "content": "x" * 900}], "x" * 500),
        ([{"role": "user", "content": " "}, {"role": "user", "content": "second"}], "second"),
        ([{"role": "user", "content": [{"type": "text", "text": "part"}]}], "part"),
        ([{"role": "user", "content": None}], ""),
        ([], ""),
    ],
    ids=["stripped", "cut", "empty first", "parts", "no text", "no user"],
)
async def test_user_task_is_passed_to_tools(first: list[dict[str, Any]], told: str) -> None:
    """The first user message that says something, at most 500 characters. Better: parts of text count too."""
    executor = FunctionExecutor()
    model = ListedChat([says("", tool_call()), says("done")])
    messages = [{"role": "system", "content": "s"}, *first]
    await AgentLoop(model, None, executor).run(messages, trajectory_id="t")
    assert [call.user_task for _, call, *_ in executor.calls] == [told]


async def test_tools_are_passed_only_when_there_are_some() -> None:
    """An empty list is refused by some servers."""
    model = ListedChat([says("done")])
    await AgentLoop(model, [], FunctionExecutor()).run(start(), trajectory_id="t")
    assert model.requests[0]["tools"] is None


@pytest.mark.parametrize(
    "call",
    [
        SimpleNamespace(id="c1", function=SimpleNamespace(name="bash", arguments='{"command": "ls"}')),
        {"id": "c1", "function": {"name": "bash", "arguments": '{"command": "ls"}'}},
        {"id": "c1", "name": "bash", "arguments": '{"command": "ls"}'},
    ],
    ids=["object", "dict", "flat dict"],
)
async def test_tool_calls_are_normalised_from_objects_and_dicts(call: Any) -> None:
    """OpenAI's SDK gives objects, vLLM's translator dictionaries."""
    message = SimpleNamespace(content=None, tool_calls=[call])
    executor = FunctionExecutor()
    result = await run(
        SimpleNamespace(choices=[SimpleNamespace(message=message)]), says("done"), executor=executor
    )
    assert executor.calls[0][1] == ToolCall("bash", {"command": "ls"}, uniq_id="c1")
    function = {"name": "bash", "arguments": '{"command": "ls"}'}
    assert result.messages[2]["tool_calls"] == [{"id": "c1", "type": "function", "function": function}]
    assert result.messages[2]["content"] == ""


async def test_a_call_without_an_id_gets_one() -> None:
    """And its answer carries the same."""
    result = await run(
        says("", {"function": {"name": "bash", "arguments": '{"command": "ls"}'}}), says("done")
    )
    (made,) = result.messages[2]["tool_calls"]
    assert made["id"]
    assert result.messages[3]["tool_call_id"] == made["id"]


@pytest.mark.parametrize(
    "members",
    [
        {"reasoning_content": "because"},
        {"reasoning": "because"},
        {"reasoning_details": [{"type": "x"}, {"text": "because"}]},
        {"reasoning_details": [SimpleNamespace(text="because")]},
        {"reasoning_content": "", "reasoning": "because"},
    ],
    ids=["reasoning_content", "reasoning", "reasoning_details", "details as objects", "the first that says"],
)
async def test_reasoning_is_extracted_from_every_provider_format(members: dict[str, Any]) -> None:
    """It is kept per turn."""
    result = await run({"message": {"content": "done", **members}})
    assert result.reasoning_per_turn == ["because"]


async def test_reasoning_is_put_back_as_reasoning_content() -> None:
    """In turns with calls and in the last one; a turn without it has no such member."""
    result = await run(
        says("", tool_call(), reasoning="a"), says("", tool_call()), says("done", reasoning="b")
    )
    assert [message.get("reasoning_content") for message in result.messages[2::2]] == ["a", None, "b"]
    assert result.reasoning_per_turn == ["a", None, "b"]


async def test_the_fallback_parser_reads_raw_tool_call_tags() -> None:
    """For servers that leave them in the text; what is beside them stays the content."""
    executor = FunctionExecutor()
    result = await run(says(f"ok {RAW}"), says("done"), executor=executor)
    assert executor.calls[0][1].arguments == {"command": "ls"}
    assert result.messages[2]["content"] == "ok"


@pytest.mark.parametrize(
    ("answer", "tools", "runs"),
    [(says(RAW, tool_call("bash", '{"command": "id"}')), None, "id"), (says(RAW), [], None)],
    ids=["structured calls are there", "no tools"],
)
async def test_the_fallback_parser_is_left_out(answer: Any, tools: Any, runs: str | None) -> None:
    """Where there are calls already, and where there are no tools."""
    executor = FunctionExecutor()
    await run(answer, says("done"), executor=executor, tools=tools)
    assert [call.arguments["command"] for _, call, _ in executor.calls] == ([] if runs is None else [runs])


async def test_text_that_the_fallback_parser_cannot_read_runs_nothing() -> None:
    """No call is invented."""
    executor = FunctionExecutor()
    await run(says('<tool_call>{"name": "bash", "arg'), says("done"), executor=executor)
    assert executor.calls == []


async def test_an_unknown_tool_lists_the_available_ones() -> None:
    """And is counted."""
    result = await run(says("", tool_call("python")), says("done"))
    told = json.loads(tool_messages(result)[0]["content"])["error"]
    known = "bash, edit_file, list_files, read_file, search_files, terminal, write_file"
    assert told == f"Unknown tool 'python'. Available tools: {known}."
    assert [error.error for error in result.tool_errors] == ["Unknown tool 'python'"]


async def test_invalid_json_arguments_are_answered_and_counted() -> None:
    """The ancestor ran the tool with no arguments; ours tells the model where it went wrong."""
    executor = FunctionExecutor()
    result = await run(says("", tool_call(arguments='{"command": "l')), says("done"), executor=executor)
    assert executor.calls == []
    assert "line 1 column 13 (char 12)" in tool_messages(result)[0]["content"]
    assert len(result.tool_errors) == 1


async def test_tool_errors_keep_the_turn_and_truncated_texts() -> None:
    """200 characters of arguments, 500 of the result."""
    long = json.dumps({"command": "x" * 900})
    limited = ToolResult(
        False,
        "y" * 900,
        "Command timed out after 1s",
        {"exit_code": -1},
        provenance=Provenance.LIMIT_EXCEEDED,
    )
    executor = FunctionExecutor(lambda _call: limited)
    result = await run(says("", tool_call(arguments=long)), says("done"), executor=executor)
    (error,) = result.tool_errors
    assert (error.turn, error.tool_name, error.error) == (1, "bash", "Command timed out after 1s")
    assert (error.arguments, len(error.tool_result)) == (long[:200], 500)


@pytest.mark.parametrize(("exit_code", "counted"), [(-1, 1), (1, 0), (0, 0)])
async def test_negative_exit_codes_count_as_errors(exit_code: int, counted: int) -> None:
    """A command that fails by itself does not."""
    ended = ToolResult(False, "", "failed", {"exit_code": exit_code}, provenance=Provenance.TOOL_ERROR)
    result = await run(says("", tool_call()), says("done"), executor=FunctionExecutor(lambda _call: ended))
    assert len(result.tool_errors) == counted


async def test_a_tool_that_raises_is_answered_and_counted_and_the_loop_goes_on() -> None:
    """As every handler's crash comes back from an executor."""
    crash = ToolResult(
        False,
        error="Tool execution failed: ValueError: x",
        metadata={"exception": "ValueError"},
        provenance=Provenance.TOOL_ERROR,
    )
    result = await run(says("", tool_call()), says("done"), executor=FunctionExecutor(lambda _call: crash))
    assert "Tool execution failed: ValueError: x" in tool_messages(result)[0]["content"]
    assert len(result.tool_errors) == 1
    assert result.finished_naturally


async def test_the_todo_store_is_per_loop() -> None:
    """It lives as long as one run, and nobody else sees it."""
    todo = tool_call("todo", '{"todos": [{"id": "a", "content": "A"}]}')
    first = await run(says("", todo), says("", tool_call("todo", "{}")), says("done"))
    second = await run(says("", tool_call("todo", "{}")), says("done"))
    totals = [json.loads(tool_messages(each)[-1]["content"])["summary"]["total"] for each in (first, second)]
    assert totals == [1, 0]


@pytest.mark.parametrize("name", ["memory", "session_search"])
async def test_memory_and_session_search_are_not_available(name: str) -> None:
    """They are answered, not unknown."""
    result = await run(says("", tool_call(name, "{}")), says("done"))
    assert "not available" in tool_messages(result)[0]["content"]
    assert result.tool_errors == []


async def test_an_api_failure_ends_the_loop_with_what_is_there() -> None:
    """Typed: it is the server's, and nobody trains on it."""
    result = await run(says("", tool_call()), RuntimeError("boom"))
    assert (result.ending, result.provenance) == (Ending.MODEL_FAILED, Provenance.MODEL_ERROR)
    assert (result.turns_used, result.finished_naturally) == (2, False)
    assert len(result.messages) == 4


@pytest.mark.parametrize("empty", [None, {"choices": []}, SimpleNamespace(choices=None)])
async def test_an_empty_response_ends_the_loop(empty: Any) -> None:
    """Typed likewise."""
    result = await run(says("", tool_call()), empty)
    assert (result.ending, result.provenance) == (Ending.MODEL_FAILED, Provenance.MODEL_ERROR)
    assert (result.turns_used, result.error) == (2, "the model answered nothing")


async def test_managed_state_is_returned_when_the_server_has_it() -> None:
    """Also when the loop failed."""

    class Managed(ListedChat):
        def get_state(self) -> dict[str, Any]:
            return {"nodes": []}

    for answer in (says("done"), RuntimeError("boom")):
        loop = AgentLoop(Managed([answer]), None, FunctionExecutor())
        assert (await loop.run(start(), trajectory_id="t")).managed_state == {"nodes": []}
    assert (await run(says("done"))).managed_state is None


async def test_finished_naturally_when_the_model_stops_calling() -> None:
    """The turn that only talks counts."""
    result = await run(says("", tool_call()), says("done"))
    assert (result.finished_naturally, result.turns_used) == (True, 2)


async def test_max_turns_is_not_a_natural_end() -> None:
    """The last calls are answered."""
    result = await run(says("", tool_call()), max_turns=3)
    assert (result.finished_naturally, result.turns_used) == (False, 3)
    assert len(tool_messages(result)) == 3


async def test_a_tool_call_runs_in_the_trajectorys_slot() -> None:
    """What the ancestor called ``task_id``."""
    executor = FunctionExecutor()
    await run(says("", tool_call()), says("done"), executor=executor)
    assert executor.calls[0][0] == "t"


async def test_many_trajectories_run_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """The ancestor had a pool of 128 threads for it; ours has no such number."""
    executor = FunctionExecutor(delay_s=1.0)
    async with trio.open_nursery() as nursery:
        for index in range(300):
            loop = AgentLoop(ListedChat([says("", tool_call()), says("done")]), registry_of("full"), executor)
            nursery.start_soon(lambda loop=loop, index=index: loop.run(start(), trajectory_id=str(index)))
    assert executor.most_running == 300
    assert trio.current_time() == pytest.approx(1.0)
