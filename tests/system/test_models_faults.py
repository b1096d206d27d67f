"""Model servers that fail in every way: a typed failure within the limit, and nothing left open."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from hermes_trio.models.chat import ChatClient
from hermes_trio.models.errors import (
    ModelConnectionError,
    ModelError,
    ModelResponseError,
    ModelStatusError,
)
from hermes_trio.models.retries import RetryPolicy
from hermes_trio.testing.faulty_model import (
    COMPLETION,
    FAULTS,
    always,
    http_answer,
    open_raw_server,
    streamed,
)

MESSAGES = [{"role": "user", "content": "hi"}]
LIMIT_S = 0.3
QUICK = RetryPolicy(max_attempts=4, first_delay_s=0.001)

FAILURES: dict[str, tuple[type[Exception], str]] = {
    "hangs": (trio.TooSlowError, ""),
    "half a body": (ModelConnectionError, "broke the connection"),
    "invalid JSON": (ModelResponseError, "it is not JSON"),
    "one byte a second": (trio.TooSlowError, ""),
    "10 MB of content": (ModelResponseError, "it sent more than 4194304 characters of text"),
    "429 for ever": (ModelStatusError, "answered 429 Too Many Requests"),
    "redirects": (ModelStatusError, "answered 307 Temporary Redirect"),
    "promises more than it sends": (trio.TooSlowError, ""),
    "sends more than it promises": (ModelResponseError, "it is not JSON"),
    "closes mid-stream": (ModelConnectionError, "broke the connection"),
}
"""What a plain call ends with: an error of ours, or the caller's own limit where the server gives no sign."""

STREAM_FAILURES = FAILURES | {
    "invalid JSON": (ModelConnectionError, "its stream ended before the completion did"),
    "10 MB of content": (ModelConnectionError, "its stream ended before the completion did"),
    "sends more than it promises": (ModelConnectionError, "its stream ended before the completion did"),
}


def open_files() -> int:
    """Files, sockets and pipes of this process."""
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def nothing_leaks() -> Iterator[None]:
    """As many files open as before; a leaked async generator would warn, which is an error here."""
    gc.collect()  # what an earlier test has left is not ours to count
    before = open_files()
    yield
    gc.collect()
    assert open_files() == before


async def _ask(client: ChatClient, *, stream: bool) -> None:
    if not stream:
        await client.complete(MESSAGES)
        return
    async with client.stream(MESSAGES) as answer:
        await answer.finish()


def test_every_fault_of_the_kit_is_tried() -> None:
    """In both ways to ask."""
    assert set(FAILURES) == set(STREAM_FAILURES) == set(FAULTS)


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_is_a_typed_failure_within_its_limit_and_leaks_nothing(
    fault: str, stream: bool
) -> None:
    """Asked by ten at once; afterwards no connection is open at the server, and no file here."""
    kind, says = (STREAM_FAILURES if stream else FAILURES)[fault]
    failures: list[Exception] = []

    async def ask(client: ChatClient) -> None:
        try:
            with trio.fail_after(LIMIT_S if kind is trio.TooSlowError else 20):
                await _ask(client, stream=stream)
        except (ModelError, trio.TooSlowError) as error:
            failures.append(error)

    async with trio.open_nursery() as files_of_trio:
        files_of_trio.cancel_scope.cancel()  # whatever Trio opens once is open before files are counted
    with nothing_leaks():
        async with open_raw_server(FAULTS[fault]) as server, ChatClient(server.url, retries=QUICK) as client:
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(ask, client)
            assert client.in_flight == 0
            await client.aclose()
            with trio.fail_after(5):
                await server.wait_open(0)
    assert [type(failure) for failure in failures] == [kind] * 10
    assert all(says in str(failure) for failure in failures)


async def test_a_server_that_is_busy_for_ever_is_asked_as_often_as_the_budget_says() -> None:
    """And no other 4xx is asked twice."""
    async with (
        open_raw_server(FAULTS["429 for ever"]) as server,
        ChatClient(server.url, retries=QUICK) as client,
    ):
        with pytest.raises(ModelStatusError):
            await client.complete(MESSAGES)
        assert len(server.requests) == 4
        assert client.statistics().retried == 3
    refused = always(http_answer(b"{}", status="404 Not Found", headers="Retry-After: 0\r\n"))
    async with open_raw_server(refused) as server, ChatClient(server.url, retries=QUICK) as client:
        with pytest.raises(ModelStatusError):
            await client.complete(MESSAGES)
        assert len(server.requests) == 1


async def test_bytes_behind_an_answer_are_not_the_next_answer() -> None:
    """Whoever says too little about the length of an answer must not speak for the next one."""
    planted = http_answer(COMPLETION.replace(b"hello", b"planted"))
    lying = always(http_answer(COMPLETION) + planted)
    async with open_raw_server(lying) as server, ChatClient(server.url) as client:
        for _ in range(3):
            assert (await client.complete(MESSAGES)).message.content == "hello"
        assert server.opened == 3


async def test_an_error_status_without_an_end_is_still_an_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its words are waited for, but not for long."""
    head = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 99\r\n\r\n{"
    async with open_raw_server(always(head)) as server, ChatClient(server.url) as client:
        with pytest.raises(ModelStatusError, match="500"):
            await client.complete(MESSAGES)
        await server.wait_open(0)


async def test_an_error_status_that_floods_is_cut_off() -> None:
    """64 KiB of words are enough."""
    body = b'{"error": "' + b"x" * 5_000_000
    flood = always(http_answer(body, status="500 Oops"))
    async with open_raw_server(flood) as server, ChatClient(server.url) as client:
        with pytest.raises(ModelStatusError, match="500"):
            await client.complete(MESSAGES)
        with trio.fail_after(5):
            await server.wait_open(0)


@pytest.mark.parametrize(
    ("events", "end", "says"),
    [
        ((), b"0\r\n\r\n", "its stream ended before the completion did"),
        (('{"choices": []}',), b"0\r\n\r\n", "its stream ended before the completion did"),
        (
            ('{"choices": [{"delta": {"content": "x"}}]}',),
            b"0\r\n\r\n",
            "its stream ended before the completion did",
        ),
        (("[DONE]",), b"0\r\n\r\n", "there are no choices"),
        (("{",), b"0\r\n\r\n", "an event of its stream is not JSON"),
        (("[]",), b"0\r\n\r\n", "a chunk is not a JSON object"),
        (('{"error": {"message": "out of memory"}}',), b"0\r\n\r\n", "it sent an error: out of memory"),
    ],
)
async def test_a_stream_that_is_none_is_refused(events: tuple[str, ...], end: bytes, says: str) -> None:
    """By its first fault."""
    async with open_raw_server(streamed(*events, end=end)) as server, ChatClient(server.url) as client:
        with pytest.raises(ModelError, match=says):
            await _ask(client, stream=True)
        assert client.in_flight == 0


async def test_a_stream_that_never_ends_is_refused_at_its_bounds() -> None:
    """One of bytes, one of text, one of a single event."""
    chunk = b'data: {"choices": [{"delta": {"content": "' + b"x" * 50_000 + b'"}}]}\n\n'

    async def flood(stream: trio.SocketStream, request: bytes) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = chunk.strip() if b"long" in request else chunk
        while True:
            await stream.send_all(b"%x\r\n%b\r\n" % (len(piece), piece))

    async with open_raw_server(flood) as server:
        async with ChatClient(server.url, max_text_chars=200_000) as client:
            with pytest.raises(ModelResponseError, match="more than 200000 characters"):
                await _ask(client, stream=True)
        async with ChatClient(server.url, max_response_bytes=200_000) as client:
            with pytest.raises(ModelResponseError, match="more than 200000 bytes"):
                await _ask(client, stream=True)
        async with ChatClient(server.url) as client:
            with pytest.raises(ModelResponseError, match="an event of its stream is too long"):
                async with client.stream([{"role": "user", "content": "long"}]) as stream:
                    await stream.finish()
        with trio.fail_after(5):
            await server.wait_open(0)
