"""What every ToolServer does, as checks over HTTP, in the ancestor's wire shapes.

The scripted one and the real one are held to it; hold a server of your own to it too. A check takes the base
URL of a server whose token is :data:`TOKEN` and that has the tools of :func:`conformance_tools`, and raises
``AssertionError`` when a promise is broken.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio

from hermes_trio.errors import Provenance, UnavailableError
from hermes_trio.testing.scripted_tools import HANGS, Answers
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.functions import python_tool
from hermes_trio.tools.tool import Tool, ToolContext
from hermes_trio.tools.tool_server.client import ToolServerClient
from hermes_trio.tools.tool_server.wire import ExecuteRequest

TOKEN = "conformance"  # noqa: S105 - of servers that live as long as a check
ASKED_AT_ONCE = 16
GRACE_S = 3.0
"""How much later than its limit a call may be answered. Machines are busy."""

ToolServerCheck = Callable[[str], Awaitable[None]]


# --- the tools --------------------------------------------------------------------------------------------


async def _add(a: int, b: int) -> int:
    """Add two numbers."""
    await trio.lowlevel.checkpoint()
    return a + b


async def _fail() -> ToolResult:
    """Fail."""
    await trio.lowlevel.checkpoint()
    return _FAILED


async def _hang() -> None:
    """Never end."""
    await trio.sleep_forever()


async def _where(context: ToolContext) -> str:
    """Say where the call came from."""
    await trio.lowlevel.checkpoint()
    return _place(context)


_FAILED = ToolResult(False, "so far", "no hits", metadata={"tried": 2}, provenance=Provenance.TOOL_ERROR)


def _place(context: ToolContext) -> str:
    return f"{context.trajectory_id} {context.slot_id} {context.container_addr}"


def conformance_tools() -> tuple[Tool, ...]:
    """For a real server."""
    functions: Mapping[str, Callable[..., Any]] = {"add": _add, "fail": _fail, "hang": _hang, "where": _where}
    return tuple(python_tool(function, name=name) for name, function in functions.items())


def conformance_answers() -> Mapping[str, Answers]:
    """For a scripted one."""

    def add(arguments: Mapping[str, Any], _: ExecuteRequest) -> ToolResult:
        return ToolResult(True, str(arguments["a"] + arguments["b"]))

    return {
        "add": add,
        "fail": lambda *_: _FAILED,
        "hang": lambda *_: HANGS,
        "where": lambda _, asked: ToolResult(True, _place(asked.context)),
    }


# --- the checks -------------------------------------------------------------------------------------------


@asynccontextmanager
async def _client(url: str, token: str | None = TOKEN) -> AsyncIterator[ToolServerClient]:
    client = ToolServerClient(url, token=token)
    try:
        yield client
    finally:
        await client.aclose()


async def _request(url: str, method: str, path: str, *, token: str = TOKEN, **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=None) as http:  # noqa: S113
        return await http.request(method, path, headers=headers, **more)


async def its_tools_are_listed_as_functions(url: str) -> None:
    """In OpenAI's shape, from which external tools are made."""
    body = (await _request(url, "GET", "/tools")).json()
    assert all(tool["type"] == "function" for tool in body["tools"])
    async with _client(url) as client:
        listed = await client.list_tools()
    assert {"add", "fail", "hang", "where"} <= {schema.name for schema in listed}
    assert all(schema.external for schema in listed)


async def a_call_is_run_and_answered(url: str) -> None:
    """With the ancestor's members, and the caller's own id."""
    tool = {"name": "add", "arguments": {"a": 2, "b": 3}, "uniq_id": "u1"}
    response = await _request(url, "POST", "/execute", json={"tool": tool})
    assert response.status_code == 200
    body = response.json()
    assert {"success", "output", "error", "metadata", "uniq_id"} <= set(body)
    assert (body["success"], body["output"], body["error"], body["uniq_id"]) == (True, "5", "", "u1")


async def a_call_knows_where_it_came_from(url: str) -> None:
    """Trajectory, slot and daemon go with it; all may be null."""
    context = ToolContext(trajectory_id="t", slot_id="s", container_addr="ws://d:1")
    async with _client(url) as client:
        assert (await client.run(ToolCall("where", {}), context)).output == "t s ws://d:1"
    body = {"trajectory_id": None, "tool": {"name": "where", "arguments": {}}, "timeout_s": None}
    response = await _request(url, "POST", "/execute", json=body)
    assert response.json()["output"] == " None None"


async def a_tool_that_fails_is_data(url: str) -> None:
    """A status of 200, and what the tool said of it."""
    async with _client(url) as client:
        result = await client.run(ToolCall("fail", {}, uniq_id="u"), ToolContext())
    assert (result.success, result.output, result.error) == (False, "so far", "no hits")
    assert (result.metadata["tried"], result.provenance) == (2, Provenance.TOOL_ERROR)


async def a_tool_that_there_is_not_is_data_too(url: str) -> None:
    """In the ancestor's words."""
    async with _client(url) as client:
        result = await client.run(ToolCall("no_such", {}), ToolContext())
    assert (result.error, result.provenance) == ("Unknown tool: no_such", Provenance.INVALID_REQUEST)


async def a_call_ends_within_the_limit_that_it_carries(url: str) -> None:
    """Answered by the server, so that a client that waits longer learns of it."""
    body = {"tool": {"name": "hang", "arguments": {}}, "timeout_s": 1.0}
    with trio.fail_after(1.0 + GRACE_S):
        response = await _request(url, "POST", "/execute", json=body)
    assert (response.status_code, response.json()["success"]) == (200, False)
    assert "did not end within 1 s" in response.json()["error"]


async def nobody_comes_in_without_the_token(url: str) -> None:
    """But to see that it is there."""
    for path, method in (("/tools", "GET"), ("/execute", "POST")):
        missing = await _request(url, method, path, token="")
        assert (missing.status_code, missing.json()["detail"]) == (401, "Missing Authorization header")
        wrong = await _request(url, method, path, token=TOKEN[::-1])
        assert (wrong.status_code, wrong.json()["detail"]) == (403, "Invalid token")
    assert (await _request(url, "GET", "/health", token="")).json()["status"] == "ok"
    refused = ""
    async with _client(url, TOKEN[::-1]) as client:
        try:
            await client.list_tools()
        except UnavailableError as error:
            refused = str(error)
    assert "403" in refused


async def a_bad_request_is_told_what_is_wrong(url: str) -> None:
    """400 for what is no JSON, 422 for a member that is wrong, and its name."""
    assert (await _request(url, "POST", "/execute", content=b"{")).status_code == 400
    for body, member in (({}, "tool"), ({"tool": {"name": 3}}, "tool.name"), ([], "body")):
        response = await _request(url, "POST", "/execute", json=body)
        assert (response.status_code, f"'{member}'" in response.json()["detail"]) == (422, True)


async def many_calls_are_answered_each_with_its_own(url: str) -> None:
    """At once."""
    sums: dict[int, str] = {}
    async with _client(url) as client:

        async def ask(number: int) -> None:
            result = await client.run(ToolCall("add", {"a": number, "b": number}), ToolContext())
            sums[number] = result.output

        async with trio.open_nursery() as nursery:
            for number in range(ASKED_AT_ONCE):
                nursery.start_soon(ask, number)
    assert sums == {number: str(2 * number) for number in range(ASKED_AT_ONCE)}


TOOL_SERVER_CHECKS: tuple[ToolServerCheck, ...] = (
    its_tools_are_listed_as_functions,
    a_call_is_run_and_answered,
    a_call_knows_where_it_came_from,
    a_tool_that_fails_is_data,
    a_tool_that_there_is_not_is_data_too,
    a_call_ends_within_the_limit_that_it_carries,
    nobody_comes_in_without_the_token,
    a_bad_request_is_told_what_is_wrong,
    many_calls_are_answered_each_with_its_own,
)
"""All of them. Each leaves the server as it was."""
