"""External tools: the client of a ToolServer, against a real HTTP server that does what it is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio

from hermes_trio.errors import Provenance
from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.executor import open_executor
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import default_registry
from hermes_trio.tools.schema import ToolSchema

SEARCH = ToolSchema("search", "Search the web.", parameters={"q": {"type": "string"}}, external=True)


class ToolServer:
    """Answers each request with the same bytes and remembers what it was asked."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.heads: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.url = ""

    async def serve(self, stream: trio.SocketStream) -> None:
        """One request for each connection."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some()
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        while len(body) < length:
            body += await stream.receive_some()
        self.heads.append(head.decode().lower())
        self.bodies.append(json.loads(body))
        if self.answer is None:
            await trio.sleep_forever()
        else:
            await stream.send_all(self.answer)
            await stream.aclose()


def http(body: object, status: str = "200 OK") -> bytes:
    """A whole response."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (
        status.encode(),
        len(text),
        text,
    )


@asynccontextmanager
async def serving(answer: bytes | None) -> AsyncIterator[ToolServer]:
    """A ToolServer on a port of its own."""
    server = ToolServer(answer)
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1")
        [listener] = await nursery.start(serve)
        server.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        yield server
        nursery.cancel_scope.cancel()


async def ask(url: str, *, token: str | None = None, limit_s: float = 5.0) -> ToolResult:
    """One call of the external tool, on a trajectory that holds a slot."""
    registry = default_registry()
    registry.add(SEARCH)
    config = ExecutorConfig(tool_server_url=url, tool_server_token=token)
    backend = MemoryBackend({"d": FakeDaemon(slots=1)})
    async with open_executor(backend, config=config, tools=registry) as executor:
        await executor.execute("t", ToolCall("bash", {"command": "true"}))
        return await executor.execute("t", ToolCall("search", {"q": "x"}, uniq_id="u1"), limit_s=limit_s)


async def test_the_call_goes_out_in_the_ancestors_shape_and_comes_back() -> None:
    """Slot and trajectory as context, the bearer token, and our own id on the result."""
    answer = {"success": True, "output": "found", "metadata": {"n": 1}, "uniq_id": "theirs"}
    async with serving(http(answer)) as server:
        result = await ask(server.url, token="t0ken")
    assert (result.success, result.output, result.metadata) == (True, "found", {"n": 1})
    assert (result.uniq_id, result.provenance) == ("u1", Provenance.OK)
    assert "authorization: bearer t0ken" in server.heads[0]
    assert server.heads[0].startswith("post /execute ")
    assert server.bodies == [
        {
            "trajectory_id": "t",
            "tool": {"name": "search", "arguments": {"q": "x"}, "uniq_id": "u1"},
            "timeout_s": 5.0,
            "slot_id": "fake_0",
            "container_addr": "memory:d",
        }
    ]


async def test_a_tools_own_failure_is_the_tools() -> None:
    """``success: false`` is data, not an infrastructure failure."""
    async with serving(http({"success": False, "error": "no hits"})) as server:
        result = await ask(server.url)
    assert (result.error, result.provenance) == ("no hits", Provenance.TOOL_ERROR)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (http({}, "500 Internal Server Error"), "500"),
        (http(b"<html>"), "the answer is not JSON"),
        (http([]), "not a JSON object"),
        (http({}), "no 'success'"),
        (http({"success": "yes"}), "'success' is not a bool"),
        (http({"success": True, "output": 3}), "'output' is not a str"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", "peer closed connection"),
        (b"not http at all\r\n\r\n", "illegal"),
    ],
    ids=["status", "no-json", "list", "empty", "wrong-type", "wrong-output", "half", "garbage"],
)
async def test_a_server_that_misbehaves_is_a_typed_failure(answer: bytes, says: str) -> None:
    """Whatever it sends, the caller gets one sentence and a provenance."""
    async with serving(answer) as server:
        result = await ask(server.url)
    assert result.error.startswith("External tool failed: ")
    assert says in result.error
    assert result.provenance is Provenance.UNAVAILABLE


async def test_a_server_that_hangs_is_ended_by_the_limit() -> None:
    """The call's own limit; 1 s is the least there is."""
    async with serving(None) as server:
        result = await ask(server.url, limit_s=1.0)
    assert result.error == "External tool failed: no answer within 1.0 s"
    assert result.provenance is Provenance.LIMIT_EXCEEDED


async def test_nobody_there_is_a_typed_failure() -> None:
    """A refused connection says so."""
    result = await ask("http://127.0.0.1:1")
    assert result.error.startswith("External tool failed: ")
    assert result.provenance is Provenance.UNAVAILABLE
