"""A real ToolServer over real HTTP, asked by our own client and by whoever else comes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio

from hermes_trio.errors import InvalidInputError, Provenance, UnavailableError
from hermes_trio.executor.config import ExecutorConfig
from hermes_trio.executor.executor import open_executor
from hermes_trio.testing.fake_daemon import FakeDaemon
from hermes_trio.testing.memory_backend import MemoryBackend
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.functions import python_tool
from hermes_trio.tools.registry import registry_of
from hermes_trio.tools.sandbox_tools import BASH
from hermes_trio.tools.schema import ToolSchema
from hermes_trio.tools.tool import ToolContext
from hermes_trio.tools.tool_server.client import ToolServerClient
from hermes_trio.tools.tool_server.server import ToolServerConfig, open_tool_server
from hermes_trio.tools.tool_server.wire import read_tools_body
from hermes_trio.tools.wrappers import prefixed

TOKEN = "a-token-of-the-test"


class Tools:
    """What the server under test can do, and what became of it."""

    def __init__(self) -> None:
        self.running = 0
        self.most_running = 0
        self.ended = trio.Event()
        self.started = trio.Event()
        self.goes_on = trio.Event()

    async def add(self, a: int, b: int = 1) -> int:
        """Add two numbers."""
        await trio.lowlevel.checkpoint()
        return a + b

    async def where(self, context: ToolContext) -> dict[str, Any]:
        """Say where the call came from."""
        await trio.lowlevel.checkpoint()
        return {
            "slot": context.slot_id,
            "daemon": context.container_addr,
            "trajectory": context.trajectory_id,
        }

    async def hold(self) -> str:
        """Go on when told."""
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.started.set()
        try:
            await self.goes_on.wait()
        finally:
            self.running -= 1
            self.ended.set()
        return "held"

    async def flood(self) -> ToolResult:
        """Print a lot, past every bound of a handler."""
        await trio.lowlevel.checkpoint()
        return ToolResult(True, "x", metadata={"flood": "y" * 20_000_000})

    async def crash(self) -> None:
        """Raise."""
        await trio.lowlevel.checkpoint()
        raise RuntimeError("boom")


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[tuple[Tools, str]]:
    """The tools, and the server's URL."""
    tools = Tools()
    functions = (tools.add, tools.where, tools.hold, tools.flood, tools.crash)
    config = ToolServerConfig(token=TOKEN, **settings)
    async with open_tool_server(map(python_tool, functions), config=config) as url:
        yield tools, url


@asynccontextmanager
async def client_of(url: str, token: str | None = TOKEN) -> AsyncIterator[ToolServerClient]:
    """Our client."""
    client = ToolServerClient(url, token=token)
    try:
        yield client
    finally:
        await client.aclose()


async def run(client: ToolServerClient, name: str, limit_s: float = 5.0, **arguments: Any) -> ToolResult:
    """One call."""
    return await client.run(ToolCall(name, arguments, uniq_id="u"), ToolContext(limit_s=limit_s))


async def test_its_tools_are_listed_and_run() -> None:
    """What is listed there is what was written here, as external tools."""
    async with serving() as (_, url), client_of(url) as client:
        listed = await client.list_tools()
        assert [schema.name for schema in listed] == ["add", "where", "hold", "flood", "crash"]
        (add,) = (schema for schema in listed if schema.name == "add")
        assert add.external
        assert add.arguments_schema() == python_tool(Tools().add).schema.arguments_schema()
        assert await run(client, "add", a=2) == ToolResult(True, "3", uniq_id="u")


async def test_an_executor_sends_its_external_calls_there() -> None:
    """Under the name that the server knows, with slot and daemon as context."""
    async with serving() as (_, url), client_of(url) as client:
        registry = registry_of("bash", tools=prefixed(await client.list_tools(), "far_"))
        config = ExecutorConfig(tool_server_url=url, tool_server_token=TOKEN)
        backend = MemoryBackend({"d": FakeDaemon(slots=1)})
        async with open_executor(backend, config=config, tools=registry) as executor:
            await executor.execute("t", ToolCall("bash", {"command": "true"}))
            result = await executor.execute("t", ToolCall("far_where", {}))
    assert json.loads(result.output) == {"slot": "fake_0", "daemon": "memory:d", "trajectory": "t"}


@pytest.mark.parametrize(
    ("name", "arguments", "error", "provenance"),
    [
        ("nope", {}, "Unknown tool: nope", Provenance.INVALID_REQUEST),
        (
            "add",
            {"a": "2"},
            "Invalid arguments for add: 'a' must be integer, not string",
            Provenance.INVALID_REQUEST,
        ),
        ("crash", {}, "Tool execution failed: RuntimeError: boom", Provenance.TOOL_ERROR),
    ],
)
async def test_who_failed_comes_through(
    name: str, arguments: dict[str, Any], error: str, provenance: Provenance
) -> None:
    """The server's own words and its judgement."""
    async with serving() as (_, url), client_of(url) as client:
        result = await run(client, name, **arguments)
    assert (result.success, result.error, result.provenance) == (False, error, provenance)


async def test_a_call_is_ended_by_the_limit_that_it_carries() -> None:
    """On the server's side, which knows that the client will not wait longer."""
    async with serving() as (tools, url), httpx.AsyncClient(base_url=url) as http:
        body = {"tool": {"name": "hold", "arguments": {}}, "timeout_s": 1.0}
        answer = await http.post("/execute", json=body, headers={"Authorization": f"Bearer {TOKEN}"})
        assert (answer.status_code, answer.json()["provenance"]) == (200, "limit_exceeded")
        assert tools.running == 0


async def test_a_client_that_goes_away_ends_its_call() -> None:
    """Nobody wants the result any more."""
    async with serving() as (tools, url), client_of(url) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, client, "hold", 60.0)
            await tools.started.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(5):
            await tools.ended.wait()


async def test_no_more_calls_run_at_once_than_may_and_the_rest_waits_or_is_refused() -> None:
    """Two run, two wait, the fifth is told that there is no room."""
    async with serving(max_concurrency=2, max_waiting=2) as (tools, url), client_of(url) as client:
        results: list[ToolResult] = []

        async def hold() -> None:
            results.append(await run(client, "hold", 60.0))

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(hold)
            with trio.fail_after(5):
                while True:
                    async with httpx.AsyncClient(base_url=url) as http:
                        health = (await http.get("/health")).json()
                    if (health["running"], health["waiting"]) == (2, 2):
                        break
            refused = await run(client, "hold")
            tools.goes_on.set()
        assert refused.provenance is Provenance.UNAVAILABLE
        assert "503: busy: 2 calls are waiting already" in refused.error
        assert [result.output for result in results] == ["held"] * 4
        assert tools.most_running == 2


async def test_an_answer_without_end_is_cut_off_by_the_client() -> None:
    """A server of somebody else's may send anything."""
    async with serving() as (_, url), client_of(url) as client:
        result = await run(client, "flood")
    assert result.provenance is Provenance.UNAVAILABLE
    assert "longer than 16777216 bytes" in result.error


@pytest.mark.parametrize(
    ("headers", "status", "detail"),
    [
        ({}, 401, "Missing Authorization header"),
        ({"Authorization": "Basic abc"}, 401, "Invalid Authorization header"),
        ({"Authorization": "Bearer wrong"}, 403, "Invalid token"),
    ],
)
@pytest.mark.parametrize("path", ["/tools", "/execute"])
async def test_the_door_is_the_ancestors(
    path: str, headers: dict[str, str], status: int, detail: str
) -> None:
    """Status and words that clients know."""
    async with serving() as (_, url), httpx.AsyncClient(base_url=url) as http:
        method = "GET" if path == "/tools" else "POST"
        answer = await http.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()) == (status, {"detail": detail})
        assert (await http.get("/health")).json()["status"] == "ok"
        assert (await http.get("/")).json() == {"message": "hermes_trio ToolServer"}


async def test_a_wrong_token_is_one_sentence_for_who_asks_for_the_tools() -> None:
    """So is a server that is not there."""
    async with serving() as (_, url), client_of(url, "wrong") as client:
        with pytest.raises(UnavailableError, match="cannot be read: it answered 403: Invalid token"):
            await client.list_tools()
    async with client_of("http://127.0.0.1:1") as client:
        with pytest.raises(UnavailableError, match="cannot be asked for"):
            await client.list_tools()


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 422, "field 'body': must be a JSON object"),
        (b"{}", 422, "field 'tool': must be a JSON object"),
        (b'{"tool": {}}', 422, "field 'tool.name'"),
        (b'{"tool": {"name": "add", "arguments": 3}}', 422, "field 'tool.arguments'"),
        (b'{"tool": {"name": "add"}, "timeout_s": "5"}', 422, "field 'timeout_s'"),
        (b'{"tool": {"name": "add"}, "slot_id": 5}', 422, "field 'slot_id'"),
        (b'{"tool": "' + b"x" * 2000 + b'"}', 413, "longer than 1000 bytes"),
    ],
    ids=range(8),
)
async def test_a_bad_request_is_told_which_member_is_wrong(body: bytes, status: int, says: str) -> None:
    """And runs nothing."""
    async with serving(max_body_bytes=1000) as (_, url), httpx.AsyncClient(base_url=url) as http:
        answer = await http.post("/execute", content=body, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == status
    assert says in answer.json()["detail"]


async def test_the_ancestors_shape_of_a_request_is_enough() -> None:
    """Null for whatever is not known, and no limit."""
    body = {
        "trajectory_id": None,
        "tool": {"name": "add", "arguments": {"a": 1}, "uniq_id": "theirs"},
        "timeout_s": None,
        "slot_id": None,
        "container_addr": None,
    }
    async with serving() as (_, url), httpx.AsyncClient(base_url=url) as http:
        answer = await http.post("/execute", json=body, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.json() == {
        "success": True,
        "output": "2",
        "error": "",
        "metadata": {},
        "uniq_id": "theirs",
        "provenance": "ok",
    }


async def test_what_cannot_be_served_is_refused_before_it_listens() -> None:
    """A sandbox tool has no handler; other machines may not come in without a token."""
    with pytest.raises(InvalidInputError, match="tool 'bash' has no handler"):
        async with open_tool_server([BASH], config=ToolServerConfig()):
            pass
    with pytest.raises(InvalidInputError, match=r"listening on 0\.0\.0\.0 needs a token"):
        async with open_tool_server([], host="0.0.0.0", config=ToolServerConfig()):
            pass


def test_settings_come_from_the_ancestors_variables() -> None:
    """A wrong one is named; the token is in no repr."""
    environment = {"TOOL_SERVER_TOKEN": "secret", "TOOL_SERVER_MAX_CONCURRENCY": "3"}
    config = ToolServerConfig.from_environment(environment)
    assert (config.token, config.max_concurrency) == ("secret", 3)
    assert "secret" not in repr(config)
    assert ToolServerConfig.from_environment({}) == ToolServerConfig()
    for number in ("0", "many", "-1"):
        with pytest.raises(InvalidInputError, match="TOOL_SERVER_MAX_CONCURRENCY: must be a positive"):
            ToolServerConfig.from_environment({"TOOL_SERVER_MAX_CONCURRENCY": number})
    with pytest.raises(InvalidInputError, match="field 'default_limit_s'"):
        ToolServerConfig(default_limit_s=0)


def test_a_client_shows_no_credentials() -> None:
    """Operators read it."""
    client = ToolServerClient("http://user:password@127.0.0.1:9002/", token="secret")
    assert repr(client) == "<ToolServerClient http://127.0.0.1:9002>"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "no list 'tools'"),
        ({"tools": [3]}, r"tools\[0\]"),
        ({"tools": [{"function": {}}]}, r"tools\[0\].function.name"),
        (
            {"tools": [{"function": {"name": "a", "parameters": {"type": "array"}}}]},
            "not the schema of an object",
        ),
    ],
)
def test_a_list_of_tools_is_read_strictly(body: Any, says: str) -> None:
    """It names the first that is none."""
    with pytest.raises(InvalidInputError, match=says):
        read_tools_body(body)


def test_schemas_without_parameters_are_fine() -> None:
    """A tool may take nothing."""
    assert read_tools_body({"tools": [{"type": "function", "function": {"name": "a"}}]}) == (
        ToolSchema("a", external=True),
    )
