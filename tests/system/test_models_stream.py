"""Completions that are read while they are generated, over real sockets."""

from __future__ import annotations

import json

import pytest
import trio

from hermes_trio.errors import LocalProtocolError
from hermes_trio.models.chat import ChatClient
from hermes_trio.testing.faulty_model import open_raw_server, streamed

MESSAGES = [{"role": "user", "content": "hi"}]
EVENTS = [
    json.dumps(
        {"id": "c", "model": "m", "prompt_token_ids": [1, 2], "choices": [{"delta": {"content": ""}}]}
    ),
    json.dumps({"choices": [{"delta": {"content": "hel"}, "token_ids": [7]}]}),
    json.dumps({"choices": [{"delta": {"content": "lo"}, "token_ids": [8], "finish_reason": "stop"}]}),
    json.dumps({"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 2}}),
    "[DONE]",
]


async def test_deltas_come_one_by_one_and_add_up() -> None:
    """To the completion that would have come whole, token ids, usage and timing included."""
    async with open_raw_server(streamed(*EVENTS)) as server, ChatClient(server.url, model="m") as client:
        async with client.stream(MESSAGES, max_tokens=9) as stream:
            with pytest.raises(LocalProtocolError, match="not been read to its end"):
                _ = stream.completion
            assert [delta.content async for delta in stream] == ["", "hel", "lo", ""]
        completion = stream.completion
        assert (completion.message.content, completion.finish_reason) == ("hello", "stop")
        assert completion.tokens is not None
        assert (completion.tokens.prompt_ids, completion.tokens.completion_ids) == ((1, 2), (7, 8))
        assert (completion.server, completion.attempts) == (f"{server.url}/chat/completions", 1)
        assert completion.latency_s > 0
        assert client.statistics().usage.total_tokens == 4
    body = json.loads(server.requests[0].partition(b"\r\n\r\n")[2])
    assert body == {
        "messages": MESSAGES,
        "model": "m",
        "temperature": 1.0,
        "max_tokens": 9,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_a_stream_may_be_finished_without_looking_and_its_connection_is_used_again() -> None:
    """The end of the message is taken with the last event."""
    async with open_raw_server(streamed(*EVENTS)) as server, ChatClient(server.url) as client:
        for _ in range(3):
            async with client.stream(MESSAGES) as stream:
                assert (await stream.finish()).message.content == "hello"
                assert (await stream.finish()) is stream.completion
        assert server.opened == 1


async def test_a_server_that_forgets_done_is_believed_when_the_completion_has_ended() -> None:
    """And one that sends it, but no end of the message, is not waited for."""
    forgetful = streamed(*EVENTS[:-1])
    async with (
        open_raw_server(forgetful) as server,
        ChatClient(server.url) as client,
        client.stream(MESSAGES) as stream,
    ):
        assert (await stream.finish()).message.content == "hello"
    async with open_raw_server(streamed(*EVENTS, end=b"")) as server, ChatClient(server.url) as client:
        with trio.fail_after(5):
            async with client.stream(MESSAGES) as stream:
                assert (await stream.finish()).message.content == "hello"
            await server.wait_open(0)


@pytest.mark.parametrize("read", [0, 1, 2])
async def test_leaving_a_stream_early_closes_its_connection(read: int) -> None:
    """However much was read; the server learns to stop, and the client stays usable."""
    endless = streamed(*EVENTS[:2], end=b"")
    async with open_raw_server(endless) as server, ChatClient(server.url) as client:
        for _ in range(2):
            async with client.stream(MESSAGES) as stream:
                for _ in range(read):
                    await anext(stream)
            with trio.fail_after(5):
                await server.wait_open(0)
        assert client.in_flight == 0
        assert client.statistics().failed == 0


async def test_cancelling_a_stream_closes_its_connection() -> None:
    """While it waits for the next delta."""
    async with open_raw_server(streamed(*EVENTS[:2], end=b"")) as server, ChatClient(server.url) as client:
        with trio.move_on_after(0.2) as scope:
            async with client.stream(MESSAGES) as stream:
                await stream.finish()
        assert scope.cancelled_caught
        with trio.fail_after(5):
            await server.wait_open(0)


async def _fail_of_its_own(client: ChatClient) -> None:
    async with client.stream(MESSAGES) as stream:
        await anext(stream)
        raise ZeroDivisionError


async def test_what_the_block_raises_leaves_it_as_it_is() -> None:
    """It is no failure of the server."""
    async with open_raw_server(streamed(*EVENTS)) as server, ChatClient(server.url) as client:
        with pytest.raises(ZeroDivisionError):
            await _fail_of_its_own(client)
        statistics = client.statistics()
        assert (statistics.failed, statistics.in_flight) == (0, 0)
