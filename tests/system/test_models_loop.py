"""The agent loop over real model servers: a trajectory stays with one, and its trace is one row."""

from __future__ import annotations

import trio

from hermes_trio.agents.loop import AgentLoop
from hermes_trio.agents.result import AgentResult
from hermes_trio.models.chat import ChatClient
from hermes_trio.models.tokens import ASK_FOR_TOKEN_IDS, training_rows
from hermes_trio.testing.doubles import FunctionExecutor
from hermes_trio.testing.scripted import Reply, ScriptedCall, open_scripted_model
from hermes_trio.testing.scripted.reply import Messages, Tools


def three_turns(messages: Messages, _tools: Tools) -> Reply:
    """Two calls, one after another, then an answer."""
    done = sum(message["role"] == "tool" for message in messages)
    return (
        Reply(content="done")
        if done == 2
        else Reply(calls=(ScriptedCall.of("bash", command=f"echo {done}"),))
    )


async def test_each_trajectory_has_its_server_and_a_trace_of_one_row() -> None:
    """Every call of a trajectory goes to the server that has its prefix cached."""
    results: dict[str, AgentResult] = {}
    async with (
        open_scripted_model(three_turns) as one,
        open_scripted_model(three_turns) as other,
        ChatClient([one, other]) as client,
    ):
        loop = AgentLoop(client, None, FunctionExecutor(), extra_body=ASK_FOR_TOKEN_IDS)

        async def run(name: str) -> None:
            results[name] = await loop.run([{"role": "user", "content": name}], trajectory_id=name)

        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(run, f"t{number}")
        assert [server.trajectories for server in client.statistics().servers.values()] == [3, 3]
    assert len(results) == 6
    for result in results.values():
        trace = result.token_trace
        assert trace is not None
        (row,) = training_rows(trace)
        assert row.calls == (0, 1, 2)
        sampled = bytes(token for token, bit in zip(row.token_ids, row.mask, strict=True) if bit).decode()
        assert (
            sampled
            == '\x02<call>bash{"command": "echo 0"}\x03\x02<call>bash{"command": "echo 1"}\x03\x02done\x03'
        )


async def test_a_trajectory_whose_server_tells_no_ids_is_text_only() -> None:
    """Loudly, and whatever its text is."""
    async with open_scripted_model(three_turns) as url, ChatClient(url) as client:
        loop = AgentLoop(client, None, FunctionExecutor())
        result = await loop.run([{"role": "user", "content": "x"}], trajectory_id="t")
    assert result.token_trace is not None
    assert result.token_trace.text_only
    assert len(result.token_trace.problems) == 3
