"""The scripted model over real HTTP, and the agent loop with it."""

from __future__ import annotations

import json
import logging

import httpx
import pytest
import trio
from attrs import define, field

from hermes_trio.agents.loop import AgentLoop
from hermes_trio.agents.prompt import task_prompt
from hermes_trio.agents.result import AgentResult, Ending
from hermes_trio.errors import Provenance, UnavailableError
from hermes_trio.models.chat import ChatClient
from hermes_trio.models.errors import ModelStatusError
from hermes_trio.testing.scripted import (
    Reply,
    ScriptedCall,
    open_scripted_model,
    policy_by_name,
    serve_scripted_model,
)
from hermes_trio.testing.scripted.reply import Messages, Tools
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import default_registry

REFERENCES = {f"task-{index}": [f"echo {index}", "ls", "echo done"] for index in range(20)}


@define
class FakeExecutor:
    """Prints what it was told to run; for all tests here that is as good as a shell."""

    commands: dict[str, list[str]] = field(factory=dict)

    async def execute(
        self, trajectory_id: str, call: ToolCall, *, limit_s: float | None = None
    ) -> ToolResult:
        """One result."""
        await trio.lowlevel.checkpoint()
        self.commands.setdefault(trajectory_id, []).append(call.arguments["command"])
        return ToolResult(True, "ok", metadata={"exit_code": 0}, uniq_id=call.uniq_id)


def _talkative(messages: Messages, _tools: Tools) -> Reply:
    if messages[-1]["role"] == "tool":
        return Reply(content=str(len(messages)), reasoning="enough")
    calls = (ScriptedCall.of("bash", command="a"), ScriptedCall.of("bash", command="b"))
    return Reply(content="two at once", calls=calls, reasoning="both")


async def test_the_loop_solves_a_task_over_real_http() -> None:
    """Client, server, policy and loop agree on every shape."""
    executor = FakeExecutor()
    async with open_scripted_model(policy_by_name("reference", REFERENCES)) as url, ChatClient(url) as client:
        result = await AgentLoop(client, None, executor).run(
            task_prompt("task-3", "do it"), trajectory_id="t3"
        )
    assert executor.commands == {"t3": ["echo 3", "ls", "echo done"]}
    assert (result.turns_used, result.finished_naturally, result.provenance) == (4, True, Provenance.OK)
    assert result.usage.total_tokens > 0
    assert result.finish_reason == "stop"
    assert json.loads(result.messages[3]["content"]) == {"output": "ok", "exit_code": 0, "error": None}


async def test_reasoning_and_several_calls_of_a_turn_travel_over_http() -> None:
    """A policy of a test's own."""
    async with open_scripted_model(_talkative) as url, ChatClient(url) as client:
        result = await AgentLoop(client, None, FakeExecutor()).run(
            [{"role": "user", "content": "go"}], trajectory_id="t"
        )
    assert result.reasoning_per_turn == ["both", "enough"]
    assert [message["role"] for message in result.messages] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
    ]


async def test_an_erring_model_makes_the_same_mistakes_in_every_run() -> None:
    """Twenty tasks at once, in whatever order: the transcripts do not depend on it."""

    async def one(loop: AgentLoop, task: str, results: dict[str, AgentResult]) -> None:
        results[task] = await loop.run(task_prompt(task, "do it"), trajectory_id=task)

    async def all_of_them() -> dict[str, AgentResult]:
        results: dict[str, AgentResult] = {}
        policy = policy_by_name("erring", REFERENCES, seed=5)
        async with open_scripted_model(policy) as url, ChatClient(url) as client:
            loop = AgentLoop(client, None, FakeExecutor())
            async with trio.open_nursery() as nursery:
                for task in REFERENCES:
                    nursery.start_soon(one, loop, task, results)
        return results

    first, second = await all_of_them(), await all_of_them()
    assert all(first[task].tool_errors == second[task].tool_errors for task in REFERENCES)
    assert all(first[task].turns_used == second[task].turns_used for task in REFERENCES)
    errors = [error.error for result in first.values() for error in result.tool_errors]
    assert any("Unknown tool" in error for error in errors)
    assert any("not valid JSON" in error for error in errors)
    assert any(result.messages[-1]["content"] == "I give up." for result in first.values())


async def test_what_the_block_raises_comes_out_as_it_was_raised() -> None:
    """Not in a group: the block knows nothing of the server's tasks behind it."""
    with pytest.raises(ZeroDivisionError):
        async with open_scripted_model(_talkative):
            raise ZeroDivisionError


async def test_an_erring_model_answers_by_the_seed_of_the_request() -> None:
    """Over HTTP: some seeds meet a mistake, some do not, and each meets the same one again."""
    prompt = task_prompt("task-3", "do it")
    tools = default_registry().openai_tools()
    async with (
        open_scripted_model(policy_by_name("erring", REFERENCES)) as url,
        ChatClient(url) as client,
    ):

        async def calls(seed: int) -> list[tuple[str, str]]:
            answered = await client.complete(prompt, tools=tools, seed=seed)
            functions = [call["function"] for call in answered.message.tool_calls]
            return [(function["name"], function["arguments"]) for function in functions]

        first = [await calls(seed) for seed in range(20)]
        assert first == [await calls(seed) for seed in range(20)]
    assert len({str(each) for each in first}) > 1


async def test_a_server_that_goes_away_ends_the_trajectory_as_a_model_error() -> None:
    """Typed, with what is there."""

    async def run_without_server() -> AgentResult:
        async with open_scripted_model(_talkative) as url:
            pass
        async with ChatClient(url) as client:
            return await AgentLoop(client, None, FakeExecutor()).run([], trajectory_id="t")

    result = await run_without_server()
    assert (result.ending, result.provenance) == (Ending.MODEL_FAILED, Provenance.MODEL_ERROR)
    assert "cannot be reached: connection refused" in result.error


@pytest.mark.slow
async def test_hundreds_of_requests_at_once_are_all_answered() -> None:
    """More connections than any backlog or pool likes."""
    answered = 0

    async def ask(client: ChatClient) -> None:
        nonlocal answered
        completion = await client.complete([{"role": "user", "content": "x"}])
        answered += completion.message.content == "I do not know this task."

    async with open_scripted_model(policy_by_name("reference", {})) as url, ChatClient(url) as client:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for _ in range(300):
                    nursery.start_soon(ask, client)
    assert answered == 300


async def test_bad_requests_and_crashing_policies_get_openai_errors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """400 for the sender's mistakes, 500 and a log entry for the policy's."""

    def crash(_messages: Messages, _tools: Tools) -> Reply:
        raise ZeroDivisionError

    async with open_scripted_model(crash) as url, ChatClient(url) as client:
        with pytest.raises(ModelStatusError, match="answered 400 Bad Request: 'messages' must be"):
            await client.complete([])
        with pytest.raises(ModelStatusError, match="answered 500") as caught, caplog.at_level(logging.ERROR):
            await client.complete([{"role": "user", "content": "x"}])
    assert caught.value.status == 500
    assert "the scripted policy failed" in caplog.text


async def test_the_routes_of_a_real_server_are_there() -> None:
    """Clients list models, orchestrators ask for health."""
    async with open_scripted_model(_talkative) as url, httpx.AsyncClient(trust_env=False) as client:
        models = await client.get(f"{url}/models")
        health = await client.get(f"{url.removesuffix('/v1')}/health")
    assert models.json()["data"][0]["id"] == "scripted"
    assert health.json() == {"status": "ok"}


async def test_leaving_the_block_is_prompt_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Also with a connection open and a request half sent."""
    async with open_scripted_model(_talkative) as url:
        host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
        stream = await trio.open_tcp_stream(host, int(port))
        await stream.send_all(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
        async with ChatClient(url) as client:
            await client.complete([{"role": "user", "content": "x"}])
        left_at = trio.current_time()
    assert trio.current_time() - left_at < 1.0
    await stream.aclose()
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


async def test_serving_in_the_callers_nursery_tells_its_url_and_ends_with_it() -> None:
    """The spelling for those who have a nursery."""
    async with trio.open_nursery() as nursery:
        url = await nursery.start(serve_scripted_model, _talkative)
        async with ChatClient(url) as client:
            completion = await client.complete([{"role": "user", "content": "x"}])
        assert completion.message.content == "two at once"
        nursery.cancel_scope.cancel()


async def test_a_taken_port_is_said_in_one_sentence() -> None:
    """Not as an OSError out of the depth of a library."""
    async with open_scripted_model(_talkative) as url:
        port = int(url.removesuffix("/v1").rpartition(":")[2])
        with pytest.raises(UnavailableError) as caught:
            await serve_scripted_model(_talkative, port=port)
    assert str(caught.value) == f"Cannot listen on 127.0.0.1:{port}: Address already in use."
