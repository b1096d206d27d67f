"""Several servers, some of them failing, and what is asked again."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

import pytest
import trio

from hermes_trio.models.balance import FIRST_REST_S
from hermes_trio.models.chat import ChatClient
from hermes_trio.models.errors import ModelStatusError, ModelUnreachableError
from hermes_trio.models.retries import RetryPolicy
from hermes_trio.testing.faulty_model import (
    COMPLETION,
    FAULTS,
    Handler,
    RawServer,
    always,
    http_answer,
    open_raw_server,
)

MESSAGES = [{"role": "user", "content": "hi"}]
FINE = always(http_answer(COMPLETION))
GONE = "http://127.0.0.1:9"
"""Nobody listens on the discard port."""


def failing(times: int, answer: bytes, then: bytes = http_answer(COMPLETION)) -> Handler:
    """A handler that answers so, and after some times otherwise."""
    left = [answer] * times

    async def handle(stream: trio.SocketStream, _request: bytes) -> None:
        await stream.send_all(left.pop() if left else then)

    return handle


BUSY = http_answer(b"{}", status="429 Too Many Requests", headers="Retry-After: 5\r\n")
DOWN = http_answer(b"<html>", status="503 Service Unavailable")


@pytest.mark.parametrize(("answer", "waited"), [(BUSY, 10.0), (DOWN, 0.75)], ids=["429", "503"])
async def test_a_call_is_asked_again_until_it_is_answered(
    answer: bytes, waited: float, autojump_clock: trio.testing.MockClock
) -> None:
    """After what the server asks for, or after waits that double; both are queue time, and are told."""
    async with (
        open_raw_server(failing(2, answer)) as server,
        ChatClient(server.url, dice=lambda: 0.0) as client,
    ):
        completion = await client.complete(MESSAGES)
    assert (completion.attempts, len(server.requests)) == (3, 3)
    assert waited <= completion.queue_s <= completion.latency_s <= waited + 2.0
    statistics = client.statistics()
    assert (statistics.answered, statistics.failed, statistics.retried) == (1, 0, 2)
    assert statistics.queue.max_s >= waited


async def test_a_server_that_comes_up_late_is_found(autojump_clock: trio.testing.MockClock) -> None:
    """Refused connections are repeated, whether the answer is streamed or not."""
    async with ChatClient(GONE, retries=RetryPolicy(max_attempts=3)) as client:
        with pytest.raises(ModelUnreachableError):
            await client.complete(MESSAGES)
        with pytest.raises(ModelUnreachableError):
            async with client.stream(MESSAGES):
                pytest.fail("entered without an answer")
        assert (client.statistics().retried, client.statistics().failed) == (4, 2)


async def test_without_retries_a_call_is_asked_once() -> None:
    """For callers with retries of their own."""
    async with open_raw_server(always(DOWN)) as server, ChatClient(server.url, retries=None) as client:
        with pytest.raises(ModelStatusError):
            await client.complete(MESSAGES)
        assert len(server.requests) == 1


async def test_cancel_while_waiting_to_ask_again_leaves_nothing() -> None:
    """A caller's limit cuts a wait short like anything else."""
    async with open_raw_server(always(BUSY)) as server, ChatClient(server.url) as client:
        with trio.move_on_after(0.3) as scope:
            await client.complete(MESSAGES)
        assert scope.cancelled_caught
        assert client.in_flight == 0


async def _opened(stack: AsyncExitStack, *handlers: Handler) -> list[RawServer]:
    return [await stack.enter_async_context(open_raw_server(handler)) for handler in handlers]


async def test_trajectories_spread_over_servers_and_stay() -> None:
    """Each prefix is cached in one place."""
    async with AsyncExitStack() as stack:
        servers = await _opened(stack, FINE, FINE, FINE)
        client = await stack.enter_async_context(ChatClient([server.url for server in servers]))
        for _turn in range(4):
            for trajectory in range(6):
                one = client.for_trajectory(str(trajectory))
                await one.complete([{"role": "user", "content": f"t{trajectory}"}])
        for server in servers:
            seen = [
                json.loads(request.partition(b"\r\n\r\n")[2])["messages"][0]["content"]
                for request in server.requests
            ]
            assert len(seen) == 8
            assert len(set(seen)) == 2
        assert [each.trajectories for each in client.statistics().servers.values()] == [2, 2, 2]


async def test_a_server_that_fails_is_left_and_its_trajectories_move_without_waiting() -> None:
    """A refused connection costs no wait when another server can be asked; later calls do not try it."""
    async with AsyncExitStack() as stack:
        (server,) = await _opened(stack, FINE)
        client = await stack.enter_async_context(ChatClient([GONE, server.url], dice=lambda: 0.0))
        completion = await client.complete(MESSAGES, trajectory_id="t")
        assert (completion.attempts, completion.server) == (2, f"{server.url}/chat/completions")
        assert completion.queue_s < 0.25
        for _ in range(5):
            assert (await client.complete(MESSAGES, trajectory_id="t")).attempts == 1
        gone, well = client.statistics().servers.values()
        assert (gone.failures, well.failures) == (1, 0)


async def test_a_server_that_is_back_is_used_again(autojump_clock: trio.testing.MockClock) -> None:
    """After its rest, by one request first."""
    async with AsyncExitStack() as stack:
        servers = await _opened(stack, failing(1, DOWN), FINE)
        client = await stack.enter_async_context(ChatClient([server.url for server in servers]))
        await client.complete(MESSAGES)
        assert [len(server.requests) for server in servers] == [1, 1]
        await client.complete(MESSAGES)
        assert [len(server.requests) for server in servers] == [1, 2]
        await trio.sleep(FIRST_REST_S)
        await client.complete(MESSAGES)
        assert [len(server.requests) for server in servers] == [2, 2]
        assert [each.failures for each in client.statistics().servers.values()] == [0, 0]


async def test_a_server_that_hangs_gets_no_more_than_its_share() -> None:
    """Requests under way there keep new ones away."""
    async with AsyncExitStack() as stack:
        hanging, well = await _opened(stack, FAULTS["hangs"], FINE)
        client = await stack.enter_async_context(ChatClient([hanging.url, well.url]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.complete, MESSAGES)
            with trio.fail_after(5):
                await hanging.wait_open(1)
                for _ in range(10):
                    await client.complete(MESSAGES)
            nursery.cancel_scope.cancel()
        assert len(hanging.requests) == 1
        assert client.statistics().in_flight == 0


async def test_a_servers_cookies_are_not_sent_back() -> None:
    """They would tie trajectories together, and grow without end."""
    answer = http_answer(COMPLETION, headers="Set-Cookie: a=b; Path=/\r\n")
    async with open_raw_server(always(answer)) as server, ChatClient(server.url) as client:
        for _ in range(2):
            await client.complete(MESSAGES)
    assert b"cookie" not in server.requests[1].lower()
