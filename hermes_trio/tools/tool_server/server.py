"""A ToolServer: serves the tools of a registry that have handlers, over HTTP."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Never, final

import orjson
import trio
from attrs import field, frozen
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from hermes_trio.errors import InvalidInputError, Provenance
from hermes_trio.link.asgi import bearer_refusal, check_may_be_open, serve_asgi
from hermes_trio.link.auth import TokenGate
from hermes_trio.link.background import open_background_nursery
from hermes_trio.tools.arguments import argument_problems
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import ToolRegistry
from hermes_trio.tools.run import run_handler
from hermes_trio.tools.schema import ToolSchema
from hermes_trio.tools.tool import Tool
from hermes_trio.tools.tool_server.wire import ExecuteRequest, read_execute_body, result_body


@frozen(kw_only=True)
class ToolServerConfig:
    """Settings of a ToolServer.

    Args:
        token: what clients must present; ``None``: nothing, which only this machine's own addresses allow.
        max_concurrency: calls that run at once.
        max_waiting: further calls that may wait for one of these to end; more are answered 503.
        default_limit_s: seconds of a call whose request names no limit.
        max_body_bytes: of a request; a longer one is answered 413.
    """

    token: str | None = field(default=None, repr=False)
    max_concurrency: int = 16
    max_waiting: int = 1024
    default_limit_s: float = 30.0
    max_body_bytes: int = 16 * 1024 * 1024

    def __attrs_post_init__(self) -> None:
        for name in ("max_concurrency", "default_limit_s", "max_body_bytes"):
            if not getattr(self, name) > 0:  # also refuses NaN
                raise InvalidInputError(f"must be positive, not {getattr(self, name)}", field=name)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> ToolServerConfig:
        """The settings that ``TOOL_SERVER_TOKEN`` and ``TOOL_SERVER_MAX_CONCURRENCY`` say.

        Args:
            environment: ``None``: this process's.

        Raises:
            InvalidInputError: it names the variable.
        """
        environment = os.environ if environment is None else environment
        number = environment.get("TOOL_SERVER_MAX_CONCURRENCY", "16")
        if not number.isdecimal() or int(number) < 1:
            raise InvalidInputError(
                f"must be a positive whole number, not {number!r}", source="TOOL_SERVER_MAX_CONCURRENCY"
            )
        return cls(token=environment.get("TOOL_SERVER_TOKEN") or None, max_concurrency=int(number))


async def serve_tool_server(
    tools: Iterable[Tool | ToolSchema],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    config: ToolServerConfig | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> Never:
    """Serve until cancelled. ``task_status.started`` is told the base URL.

    Cancellation: *abandons*: calls under way are ended, the socket is closed.

    Args:
        tools: all with handlers; a registry is fine.
        host: address to listen on.
        port: 0 takes a free one.
        config: settings; ``None``: those of the environment.
        task_status: Trio's.

    Raises:
        InvalidInputError: a tool has no handler, or other machines could call without a token.
        UnavailableError: the address cannot be listened on.
    """
    config = config or ToolServerConfig.from_environment()
    check_may_be_open(host, has_token=config.token is not None)
    app = tool_server_app(tools, config=config)
    await serve_asgi(app, host=host, port=port, task_status=task_status)


@asynccontextmanager
async def open_tool_server(
    tools: Iterable[Tool | ToolSchema],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    config: ToolServerConfig | None = None,
) -> AsyncIterator[str]:
    """The base URL of a ToolServer that serves until the end of the block; see :func:`serve_tool_server`.

    Cancellation: *abandons*: leaving the block ends what is under way.
    """
    async with open_background_nursery() as nursery:
        serve = partial(serve_tool_server, tools, host=host, port=port, config=config)
        url: str = await nursery.start(serve)
        yield url


def tool_server_app(tools: Iterable[Tool | ToolSchema], *, config: ToolServerConfig) -> Starlette:
    """The ASGI application, for those who have a server already; it must run on Trio.

    Raises:
        InvalidInputError: a tool has no handler.
    """
    server = _ToolServer(ToolRegistry(tools), config)
    return Starlette(
        routes=[
            Route("/", server.root),
            Route("/health", server.health),
            Route("/tools", server.tools),
            Route("/execute", server.execute, methods=["POST"]),
        ]
    )


class _Refused(Exception):
    """The request is answered with a status instead of a result."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@final
class _ToolServer:
    def __init__(self, registry: ToolRegistry, config: ToolServerConfig) -> None:
        for tool in registry:
            if tool.handler is None:
                raise InvalidInputError(f"tool '{tool.name}' has no handler that a ToolServer could run")
        self._registry = registry
        self._config = config
        self._gate = None if config.token is None else TokenGate([config.token])
        self._places = trio.CapacityLimiter(config.max_concurrency)

    async def root(self, _request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return _json({"message": "hermes_trio ToolServer"})

    async def health(self, _request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        running, waiting = self._places.borrowed_tokens, self._places.statistics().tasks_waiting
        return _json({"status": "ok", "tools": len(self._registry), "running": running, "waiting": waiting})

    async def tools(self, request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        try:
            self._check_token(request)
        except _Refused as refused:
            return _refusal(refused)
        return _json({"tools": self._registry.openai_tools()})

    async def execute(self, request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        try:
            self._check_token(request)
            asked = await self._read(request)
            self._check_room()
        except _Refused as refused:
            return _refusal(refused)
        result = await self._run_while_wanted(request, asked)
        return Response(status_code=499) if result is None else _json(result_body(result))

    def _check_token(self, request: Request) -> None:
        refusal = bearer_refusal(self._gate, request.headers.get("authorization"))
        if refusal is not None:
            raise _Refused(*refusal)

    def _check_room(self) -> None:
        if self._places.statistics().tasks_waiting >= self._config.max_waiting:
            raise _Refused(503, f"busy: {self._config.max_waiting} calls are waiting already")

    async def _read(self, request: Request) -> ExecuteRequest:
        try:
            body = orjson.loads(await self._bounded_body(request))
            return read_execute_body(body, default_limit_s=self._config.default_limit_s)
        except orjson.JSONDecodeError as error:
            raise _Refused(400, f"the body is not JSON: {error}") from error
        except InvalidInputError as error:
            raise _Refused(422, str(error)) from error
        except ClientDisconnect as error:
            raise _Refused(499, "the client went away") from error

    async def _bounded_body(self, request: Request) -> bytes:
        data = bytearray()
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                data += chunk
                if len(data) > self._config.max_body_bytes:
                    raise _Refused(413, f"the body is longer than {self._config.max_body_bytes} bytes")
        return bytes(data)

    async def _run_while_wanted(self, request: Request, asked: ExecuteRequest) -> ToolResult | None:
        """The result, or ``None`` when the client went away first: the call is then ended."""
        result = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_gone, request, nursery.cancel_scope)
            result = await self._run(asked)
            nursery.cancel_scope.cancel()
        return result

    async def _run(self, asked: ExecuteRequest) -> ToolResult:
        call = asked.call
        tool = self._registry.tool(call.name)
        if tool is None:
            return await _invalid(call, f"Unknown tool: {call.name}")
        problems = argument_problems(tool.schema, call.arguments)
        if problems:
            return await _invalid(call, f"Invalid arguments for {call.name}: {'; '.join(problems)}")
        # The time in the queue is not the call's: its limit begins when it has a place.
        async with self._places:
            return await run_handler(tool, call, asked.context)


async def _cancel_when_gone(request: Request, scope: trio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _invalid(call: ToolCall, error: str) -> ToolResult:
    await trio.lowlevel.checkpoint()
    return ToolResult(False, error=error, uniq_id=call.uniq_id, provenance=Provenance.INVALID_REQUEST)


def _refusal(refused: _Refused) -> Response:
    return _json({"detail": refused.detail}, status=refused.status)


def _json(body: object, *, status: int = 200) -> Response:
    data = orjson.dumps(body, default=str, option=orjson.OPT_NON_STR_KEYS)
    return Response(data, status_code=status, media_type="application/json")
