"""The chat client against real sockets, most of them badly behaved."""

from __future__ import annotations

import json
import logging
import socket
from typing import Any

import pytest
import trio

from hermes_trio.errors import ClosedError, InvalidInputError
from hermes_trio.models.chat import ChatClient, open_chat_client
from hermes_trio.models.errors import (
    ModelConnectionError,
    ModelError,
    ModelResponseError,
    ModelStatusError,
    ModelUnreachableError,
)
from hermes_trio.models.shards import CONNECTIONS_PER_SHARD
from hermes_trio.testing.faulty_model import COMPLETION, always, http_answer, open_raw_server

MESSAGES = [{"role": "user", "content": "hi"}]
KEY = "sk-very-secret"


async def _fails(data: bytes, *, close: bool = False) -> ModelError:
    """The error of one request that is answered so."""

    async def handle(stream: trio.SocketStream, _request: bytes) -> None:
        await stream.send_all(data)
        if close:
            await stream.aclose()

    async with open_raw_server(handle) as server, ChatClient(server.url, api_key=KEY, retries=None) as client:
        with trio.fail_after(5), pytest.raises(ModelError) as caught:
            await client.complete(MESSAGES)
        assert client.in_flight == 0
    assert caught.value.url == f"{server.url}/chat/completions"
    assert KEY not in f"{caught.value!s} {caught.value!r} {client!r}"
    assert "\n" not in str(caught.value)
    return caught.value


async def test_a_completion_is_asked_for_with_everything_that_was_said() -> None:
    """Route, key, model, options, and the extra members at the top level."""
    async with (
        open_raw_server(always(http_answer(COMPLETION))) as server,
        open_chat_client(server.url, api_key=f"{KEY}\n", model="m") as client,
    ):
        completion = await client.complete(
            MESSAGES,
            tools=[{"type": "function"}],
            tool_choice="auto",
            max_tokens=5,
            stop=["x"],
            seed=3,
            extra_body={"provider": {"ignore": ["p"]}},
        )
    assert completion.message.content == "hello"
    assert completion.latency_s > 0
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1")
    assert f"authorization: bearer {KEY}".encode() in head.lower()
    assert json.loads(body) == {
        "messages": MESSAGES,
        "model": "m",
        "tools": [{"type": "function"}],
        "tool_choice": "auto",
        "temperature": 1.0,
        "max_tokens": 5,
        "stop": ["x"],
        "seed": 3,
        "provider": {"ignore": ["p"]},
    }


async def test_without_a_key_no_authorization_is_sent() -> None:
    """And without tools no empty list of them."""
    async with open_raw_server(always(http_answer(COMPLETION))) as server, ChatClient(server.url) as client:
        await client.complete(MESSAGES, tools=[])
    assert b"authorization" not in server.requests[0].lower()
    assert b"tools" not in server.requests[0]


async def test_a_refused_connection_is_unreachable() -> None:
    """In the words of the operating system."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with ChatClient(f"http://127.0.0.1:{bound.getsockname()[1]}") as client:
            with pytest.raises(ModelUnreachableError, match=r"cannot be reached: connection refused\.$"):
                await client.complete(MESSAGES)


async def test_a_connection_that_is_never_taken_is_unreachable_within_its_bound() -> None:
    """A full backlog swallows SYN packets; the connect timeout is the one bound of ours."""
    with socket.socket() as full, trio.fail_after(5):
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        clogs = [socket.socket() for _ in range(4)]
        for clog in clogs:
            clog.setblocking(False)
            clog.connect_ex(full.getsockname())
        async with ChatClient(f"http://127.0.0.1:{full.getsockname()[1]}", connect_timeout=0.1) as client:
            with pytest.raises(ModelUnreachableError, match="within the connect timeout"):
                await client.complete(MESSAGES)
        for clog in clogs:
            clog.close()


async def test_an_error_status_carries_the_servers_words() -> None:
    """And what it says about trying again."""
    body = b'{"error": {"message": "slow\\ndown"}}'
    error = await _fails(http_answer(body, status="429 Too Many Requests", headers="Retry-After: 7\r\n"))
    assert isinstance(error, ModelStatusError)
    assert (error.status, error.retry_after) == (429, "7")
    assert str(error).endswith("answered 429 Too Many Requests: slow down")


async def test_a_server_that_repeats_the_key_does_not_leak_it_through_us() -> None:
    """Some do, on 401."""
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}).encode()
    error = await _fails(http_answer(body, status="401 Unauthorized"))
    assert str(error).endswith("Incorrect API key provided: ***")


async def test_a_redirect_is_an_error_and_not_followed() -> None:
    """A key must not travel to wherever a server points."""
    error = await _fails(
        http_answer(b"", status="307 Temporary Redirect", headers="Location: http://127.0.0.1:1/\r\n")
    )
    assert (type(error), error.status) == (ModelStatusError, 307)


@pytest.mark.parametrize(
    ("data", "close", "kind", "says"),
    [
        (http_answer(b"<html>"), False, ModelResponseError, "it is not JSON"),
        (http_answer(b""), False, ModelResponseError, "it is not JSON"),
        (http_answer(b'{"choices": []}'), False, ModelResponseError, "there are no choices"),
        (http_answer(b'{"error": {"message": "full"}}'), False, ModelResponseError, "it sent an error: full"),
        (
            http_answer(b"oops", status="502 Bad Gateway"),
            False,
            ModelStatusError,
            "answered 502 Bad Gateway.",
        ),
        (b"", True, ModelConnectionError, "broke the connection"),
        (b"rubbish\r\n\r\n", True, ModelConnectionError, "broke the connection"),
        (
            http_answer(COMPLETION, length=len(COMPLETION) + 9),
            True,
            ModelConnectionError,
            "broke the connection",
        ),
        (http_answer(COMPLETION)[:30], True, ModelConnectionError, "broke the connection"),
    ],
    ids=["html", "empty", "no-choices", "error-200", "502", "closed", "rubbish", "short-body", "half-head"],
)
async def test_each_way_to_fail_has_its_type_and_sentence(
    data: bytes, close: bool, kind: type[ModelError], says: str
) -> None:
    """Typed, one line, and the client is not stuck."""
    error = await _fails(data, close=close)
    assert type(error) is kind
    assert says in str(error)


async def test_an_answer_without_end_is_refused_at_its_bound() -> None:
    """Memory is not the server's to fill; the connection is given up."""

    async def flood(stream: trio.SocketStream, _request: bytes) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await stream.send_all(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    async with open_raw_server(flood) as server, ChatClient(server.url, max_response_bytes=100_000) as client:
        with trio.fail_after(5), pytest.raises(ModelResponseError, match="more than 100000 bytes"):
            await client.complete(MESSAGES)
        with trio.fail_after(5):
            await server.wait_open(0)


async def test_cancelling_a_call_closes_its_connection_and_leaves_the_client_usable() -> None:
    """That is how a server learns to stop generating; the call beside it goes on."""
    asked, finish = trio.Event(), trio.Event()

    async def hang_when_asked(stream: trio.SocketStream, request: bytes) -> None:
        if b"hang" in request:
            asked.set()
            assert await stream.receive_some() == b""
            await stream.aclose()
        else:
            await finish.wait()
            await stream.send_all(http_answer(COMPLETION))

    async with open_raw_server(hang_when_asked) as server, ChatClient(server.url) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.complete, MESSAGES)
            with trio.fail_after(5):
                await _cancelled_once(client, asked)
                await server.wait_open(1)
            finish.set()
        with trio.fail_after(5):
            assert (await client.complete(MESSAGES)).message.content == "hello"


async def _cancelled_once(client: ChatClient, asked: trio.Event) -> None:
    """A call that hangs, given up as soon as the server has it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.complete, [{"role": "user", "content": "hang"}])
        await asked.wait()
        nursery.cancel_scope.cancel()


async def test_connections_are_reused_by_requests_one_after_another() -> None:
    """Keep-alive works through the shards."""
    async with open_raw_server(always(http_answer(COMPLETION))) as server, ChatClient(server.url) as client:
        for _ in range(5):
            await client.complete(MESSAGES)
        assert (server.opened, len(server.requests)) == (1, 5)
        assert repr(client).endswith("model=None 0 in flight, 1 shards>")


async def test_shards_follow_the_number_of_requests_under_way() -> None:
    """No hidden limit: all of them are at the server at the same time."""
    wanted, all_here = CONNECTIONS_PER_SHARD * 3, trio.Event()

    async def wait_for_all(stream: trio.SocketStream, _request: bytes) -> None:
        if len(server.requests) == wanted:
            all_here.set()
        await all_here.wait()
        await stream.send_all(http_answer(COMPLETION))

    async with open_raw_server(wait_for_all) as server, ChatClient(server.url) as client:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(wanted):
                    nursery.start_soon(client.complete, MESSAGES)
        assert server.opened == wanted
        assert "0 in flight, 3 shards" in repr(client)


async def test_leaving_the_client_closes_all_connections_and_it_stays_closed() -> None:
    """Nothing leaks, and using it again says why it does not work."""
    async with open_raw_server(always(http_answer(COMPLETION))) as server:
        async with ChatClient(server.url) as client:
            await client.complete(MESSAGES)
        with trio.fail_after(5):
            await server.wait_open(0)
        await client.aclose()
        with pytest.raises(ClosedError):
            await client.complete(MESSAGES)
        assert server.open_now == 0


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "nonsense"},
        {"base_url": []},
        {"base_url": "http://h/\x01"},
        {"base_url": "http://h", "api_key": "a\nb"},
    ],
)
def test_bad_options_are_refused_before_anything_is_opened(options: dict[str, Any]) -> None:
    """In one line."""
    with pytest.raises(InvalidInputError):
        ChatClient(**options)


async def test_nothing_is_logged_that_holds_the_key(caplog: pytest.LogCaptureFixture) -> None:
    """At any level, of any library."""
    with caplog.at_level(logging.DEBUG):
        async with (
            open_raw_server(always(http_answer(COMPLETION))) as server,
            ChatClient(server.url, api_key=KEY) as client,
        ):
            await client.complete(MESSAGES)
    assert KEY not in caplog.text
