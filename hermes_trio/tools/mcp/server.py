"""One MCP server under supervision, and its tools.

Theory of operation. A task owns the connection: it opens it, lists the tools, and opens it again when it is
over, as often as the limits say. Calls run in their callers' tasks on whatever connection there is; while
there is none, they wait for it within their own limit. A call that was under way when the connection went is
``link_lost``, and never repeated: the server may have done it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, final

import trio
from attrs import frozen

from hermes_trio.errors import InvalidInputError, Provenance, UnavailableError
from hermes_trio.link.background import open_background_nursery
from hermes_trio.telemetry.log import get_logger
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.mcp.config import McpLimits, McpPlace, McpProgram
from hermes_trio.tools.tool import Tool, ToolContext

try:
    from mcp import MCPError
    from mcp.client.client import Client
    from mcp_types import CONNECTION_CLOSED
    from pydantic import ValidationError

    from hermes_trio.tools.mcp.program import Connection, open_program
    from hermes_trio.tools.mcp.results import result_of, schema_of
    from hermes_trio.tools.mcp.url import open_url
except ImportError as missing:
    mend = "Install the extra: pip install 'hermes-trio[mcp]'."
    raise UnavailableError("MCP servers need a package that is not here.", mend=mend) from missing

_MAX_TOLD_CHARS = 500
_MAX_PAGES = 100
"""Of a list of tools; a server that always has one more does not end."""

logger = get_logger(__name__)


@frozen(kw_only=True)
class McpStatistics:
    """What became of a server so far."""

    up: bool
    """There is a connection now."""
    restarts: int
    """Connections after the first one."""
    given_up: str
    """Why there will be none any more; empty: there is one, or there will be."""
    left_out: tuple[str, ...]
    """Its tools that cannot be offered, with the reason."""


@final
class McpServer:
    """A server whose tools can be called. Made by :func:`open_mcp_server`.

    Attributes:
        name: what it is called here.
        tools: with handlers, fit for a registry.
    """

    def __init__(self, name: str, place: McpPlace, limits: McpLimits) -> None:
        self.name = name
        self.tools: tuple[Tool, ...] = ()
        self._place = place
        self._limits = limits
        self._client: Client | None = None
        self._connection = Connection()
        self._changed = trio.Event()
        self._restarts = 0
        self._given_up = ""
        self._left_out: tuple[str, ...] = ()

    def __repr__(self) -> str:
        state = f"given up: {self._given_up}" if self._given_up else "up" if self._client else "down"
        return f"<McpServer {self.name} {state}, {len(self.tools)} tools, {self._restarts} restarts>"

    def statistics(self) -> McpStatistics:
        """A snapshot."""
        return McpStatistics(
            up=self._client is not None,
            restarts=self._restarts,
            given_up=self._given_up,
            left_out=self._left_out,
        )

    # --- calls ----------------------------------------------------------------------------------------

    async def call(self, call: ToolCall, _context: ToolContext) -> ToolResult:
        """Run one call there, under the server's own name for the tool.

        Cancellation: shielded, at most 5 s, while the server is told; then its answer is not waited for.

        Returns:
            The server's result, or one that says why there is none.
        """
        client = await self._wait_up()
        if client is None:
            error = f"The MCP server '{self.name}' is not there: {self._given_up}."
            return ToolResult(False, error=error, provenance=Provenance.UNAVAILABLE)
        try:
            return result_of(await client.call_tool(call.name, dict(call.arguments)))
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                return self._lost(error)
            return ToolResult(False, error=_words(error), provenance=Provenance.TOOL_ERROR)
        except ValidationError as error:
            told = f"The MCP server '{self.name}' answered something else than a result: {_words(error)}"
            return ToolResult(False, error=told, provenance=Provenance.TOOL_ERROR)

    async def _wait_up(self) -> Client | None:
        await trio.lowlevel.checkpoint()
        while (self._client is None or self._connection.over.is_set()) and not self._given_up:
            await self._changed.wait()
        return None if self._given_up else self._client

    def _lost(self, error: MCPError) -> ToolResult:
        # Whoever notices first ends it, so that no later call takes this connection.
        self._connection.end(_words(error))
        told = f"The MCP server '{self.name}' was lost during the call: {self._connection.reason}."
        return ToolResult(False, error=told, provenance=Provenance.LINK_LOST)

    # --- the connection -------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connection up as often as the limits allow.

        Cancellation: shielded, at most 6 s, while a program ends.

        Raises:
            UnavailableError: the first connection did not come about.
        """
        reason = await self._run_once(task_status)
        while self._restarts < self._limits.restarts:
            logger.warning("connecting again to an MCP server", server=self.name, reason=reason)
            self._restarts += 1
            await trio.sleep(self._limits.restart_pause_s)
            try:
                reason = await self._run_once(trio.TASK_STATUS_IGNORED)
            except UnavailableError as error:
                reason = str(error).rstrip(".")
        self._given_up = f"{reason}; it is given up after {self._restarts} restarts"
        logger.error("an MCP server is given up", server=self.name, reason=self._given_up)
        self._tell()

    async def _run_once(self, task_status: trio.TaskStatus[None]) -> str:
        """One connection, from its beginning to the reason for its end."""
        connection = self._connection = Connection()
        limit_s = self._limits.connect_limit_s
        await trio.lowlevel.checkpoint()
        try:
            with trio.CancelScope(deadline=trio.current_time() + limit_s) as scope:
                await self._hold(connection, scope, task_status)
            if scope.cancelled_caught:
                connection.end(f"it did not tell its tools within {limit_s:g} s")
        except Exception as error:
            # The boundary to the SDK, whose transports end with whatever their libraries raise.
            connection.end(_words(error))
        except BaseExceptionGroup as group:
            # A cancel, and beside it what the SDK made of it.
            raise group.subgroup(lambda error: not isinstance(error, Exception)) or group from None
        if connection.was_up:
            return connection.reason
        words = f" ({connection.last_words})" if connection.last_words else ""
        raise UnavailableError(f"The MCP server '{self.name}' cannot be used: {connection.reason}{words}.")

    async def _hold(
        self, connection: Connection, scope: trio.CancelScope, task_status: trio.TaskStatus[None]
    ) -> None:
        try:
            async with Client(self._transport(connection)) as client:
                await self._learn_tools(client)
                scope.deadline = math.inf
                connection.was_up, self._client = True, client
                self._tell()
                task_status.started()
                await connection.over.wait()
        finally:
            self._client = None

    def _transport(self, connection: Connection) -> AbstractAsyncContextManager[Any]:
        if isinstance(self._place, McpProgram):
            return open_program(self._place, limits=self._limits, connection=connection)
        return open_url(self._place, limits=self._limits)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _learn_tools(self, client: Client) -> None:
        """Ask for the tools. Those of the first time count: a registry does not change under a model."""
        await trio.lowlevel.checkpoint()
        tools, left_out, cursor = list[Tool](), list[str](), None
        for _ in range(_MAX_PAGES):
            page = await client.list_tools(cursor=cursor)
            for told in page.tools:
                try:
                    tool = Tool(schema_of(told), handler=self.call, known_as=told.name)
                    _ = tool.schema.validator
                    tools.append(tool)
                except InvalidInputError as error:
                    left_out.append(str(error))
            cursor = page.next_cursor
            if cursor is None or len(tools) > self._limits.max_tools:
                break
        if not self.tools:
            self.tools = tuple(tools[: self._limits.max_tools])
            self._left_out = tuple(left_out)


def _words(error: BaseException) -> str:
    """What an error says; of a group, its first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    told = " ".join(str(error).split())
    return (told or type(error).__name__)[:_MAX_TOLD_CHARS].rstrip(".")


@asynccontextmanager
async def open_mcp_server(
    place: McpPlace, *, name: str = "mcp", limits: McpLimits | None = None
) -> AsyncIterator[McpServer]:
    """Connect to an MCP server and keep it up until the end of the block.

    Cancellation: shielded, at most 6 s, while a program ends; nothing of it is left then.

    Args:
        place: a program to start, or where a server runs.
        name: for errors and the log.
        limits: what it may do; ``None``: the defaults.

    Raises:
        UnavailableError: it cannot be started or reached, or does not tell its tools in time.
    """
    server = McpServer(name, place, limits or McpLimits())
    async with open_background_nursery() as nursery:
        await nursery.start(server.run)
        yield server
