"""The ancestor's tool-executor server: FastAPI on uvicorn, pydantic payloads, its executor behind them.

``python -m benchmarks.arms.ancestor.http_server SANDBOX_URL OPTIONS SETTINGS`` prints its URL, and ends when
its input does. The route, its payloads and its defaults are the ancestor's; what costs time there and is not
compared is left out, as in the whole package.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Header
from pydantic import BaseModel, Field

from benchmarks.arms.ancestor.client import open_client
from benchmarks.arms.ancestor.executor import AncestorConfig, open_ancestor_executor
from benchmarks.arms.base import ArmOptions, CallerSettings
from benchmarks.lib.converter import from_line


class ToolCallPayload(BaseModel):
    """As the ancestor's clients send it."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    uniq_id: str | None = None


class ExecuteRequest(BaseModel):
    """Likewise."""

    trajectory_id: str
    tool: ToolCallPayload
    timeout_s: float | None = None


class ToolResultPayload(BaseModel):
    """Likewise."""

    success: bool
    output: str = ""
    error: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)
    uniq_id: str | None = None


def make_application(sandbox_url: str, slots: int, config: AncestorConfig) -> FastAPI:
    """Its one route that is measured; the executor is kept in ``app.state``, as there."""

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        names = tuple(f"slot_{index}" for index in range(slots))
        async with (
            open_client(sandbox_url) as client,
            open_ancestor_executor(client, names, config) as executor,
        ):
            application.state.executor = executor
            yield

    # FastAPI of its time traced nothing; today's is not to pay for it.
    quiet: Any = {"tracing": False, "metrics": False, "logs": False}
    application = FastAPI(title="ancestor", lifespan=lifespan, telemetry=quiet)

    @application.post("/execute", response_model=ToolResultPayload)
    async def execute(
        request: ExecuteRequest, authorization: str | None = Header(default=None)
    ) -> ToolResultPayload:
        tool = request.tool
        outcome = await application.state.executor.execute(
            request.trajectory_id, tool.name, tool.arguments, request.timeout_s or 30.0
        )
        return ToolResultPayload(success=outcome.ok, error=outcome.reason, uniq_id=tool.uniq_id)

    return application


async def serve(sandbox_url: str, options: ArmOptions, settings: CallerSettings) -> None:
    """Serves until standard input ends.

    Cancellation: *abandons* requests under way.
    """
    window_ms, size = settings.batch_window_ms, settings.max_batch_size
    config = AncestorConfig(
        batch_window_ms=20 if window_ms is None else window_ms,
        max_batch_size=200 if size is None else size,
        allow_network=options.allow_network,
    )
    application = make_application(sandbox_url, options.slots, config)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        server = uvicorn.Server(
            uvicorn.Config(application, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        )
        asyncio.get_running_loop().add_reader(0, _stop, server)
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        await server.serve(sockets=[listening])


def _stop(server: uvicorn.Server) -> None:
    """The input has ended, and with it the connections: the client is closed first."""
    asyncio.get_running_loop().remove_reader(0)
    server.should_exit = True


if __name__ == "__main__":
    asyncio.run(
        serve(
            sys.argv[1],
            from_line(sys.argv[2].encode(), ArmOptions),
            from_line(sys.argv[3].encode(), CallerSettings),
        )
    )
