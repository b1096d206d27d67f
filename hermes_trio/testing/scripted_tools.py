"""A ToolServer that answers from a table, over real HTTP: the double of the real one.

It is held to :func:`hermes_trio.tools.tool_server.server.open_tool_server` by one suite,
:mod:`hermes_trio.testing.tool_server_conformance`, and knows nothing of schemas, queues and threads. Use it
to see what your program does when a tool answers this or that::

    async with open_scripted_tools({"search": lambda arguments, body: ToolResult(True, "found")}) as server:
        config = ExecutorConfig(tool_server_url=server.url)
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import trio
from attrs import define, evolve, field

from hermes_trio.errors import InvalidInputError, Provenance
from hermes_trio.link.asgi import bearer_refusal
from hermes_trio.link.auth import TokenGate
from hermes_trio.testing.faulty_model import http_answer, open_raw_server
from hermes_trio.tools.calls import ToolResult
from hermes_trio.tools.tool_server.wire import ExecuteRequest, read_execute_body, result_body

HANGS = "hangs"
"""In place of an answer: there is none until the call's limit."""

Answers = Callable[[Mapping[str, Any], ExecuteRequest], ToolResult | str]
"""Makes the result of a call from its arguments and the whole request; :data:`HANGS`: there is none."""


@define(eq=False)
class ScriptedTools:
    """What :func:`open_scripted_tools` gives.

    Attributes:
        url: of the server.
        asked: the calls that came, in order.
    """

    tools: Mapping[str, Answers]
    token: str | None = field(default=None, repr=False)
    url: str = ""
    asked: list[ExecuteRequest] = field(factory=list)

    async def handle(self, stream: trio.SocketStream, request: bytes) -> None:
        """Answer one request.

        Cancellation: *abandons*.
        """
        head, _, body = request.partition(b"\r\n\r\n")
        status, answer = await self._answer(head, body)
        await stream.send_all(
            http_answer(
                json.dumps(answer).encode(),
                status=f"{status} {HTTPStatus(status).phrase}",
                headers="Content-Type: application/json\r\n",
            )
        )

    async def _answer(self, head: bytes, body: bytes) -> tuple[int, Any]:
        await trio.lowlevel.checkpoint()
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        if path in ("/", "/health"):
            return 200, {"status": "ok", "message": "scripted ToolServer"}
        gate = None if self.token is None else TokenGate([self.token])
        refusal = bearer_refusal(gate, headers.get("authorization"))
        if refusal is not None:
            return refusal[0], {"detail": refusal[1]}
        match method, path:
            case "GET", "/tools":
                return 200, {"tools": [_function(name) for name in self.tools]}
            case "POST", "/execute":
                return await self._execute(body)
            case _:
                return 404, {"detail": "Not Found"}

    async def _execute(self, body: bytes) -> tuple[int, Any]:
        await trio.lowlevel.checkpoint()
        try:
            asked = read_execute_body(json.loads(body), default_limit_s=30.0)
        except InvalidInputError as error:
            return 422, {"detail": str(error)}
        except ValueError as error:
            return 400, {"detail": f"the body is not JSON: {error}"}
        self.asked.append(asked)
        return 200, result_body(await self._result(asked))

    async def _result(self, asked: ExecuteRequest) -> ToolResult:
        call, limit_s = asked.call, asked.context.limit_s
        answers = self.tools.get(call.name)
        await trio.lowlevel.checkpoint()
        if answers is None:
            told, why = f"Unknown tool: {call.name}", Provenance.INVALID_REQUEST
            return ToolResult(False, error=told, uniq_id=call.uniq_id, provenance=why)
        result = answers(call.arguments, asked)
        if isinstance(result, ToolResult):
            return evolve(result, uniq_id=call.uniq_id)
        await trio.sleep(limit_s)
        told = f"{call.name} did not end within {limit_s:g} s."
        return ToolResult(False, error=told, uniq_id=call.uniq_id, provenance=Provenance.LIMIT_EXCEEDED)


def _function(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": name, "description": "", "parameters": parameters}}


@asynccontextmanager
async def open_scripted_tools(
    tools: Mapping[str, Answers], *, token: str | None = None
) -> AsyncIterator[ScriptedTools]:
    """A ToolServer on a free port of this machine until the end of the block.

    Cancellation: *atomic*: leaving the block closes every connection.

    Args:
        tools: by name, what makes their results.
        token: what callers must have; ``None``: none.
    """
    scripted = ScriptedTools(tools, token)
    async with open_raw_server(scripted.handle) as server:
        scripted.url = server.url.removesuffix("/v1")
        yield scripted
