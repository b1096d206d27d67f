"""Serves a policy over real HTTP: Starlette on hypercorn.trio, one process, nothing printed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Never
from uuid import uuid4

import orjson
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hermes_trio.link.asgi import serve_asgi
from hermes_trio.link.background import open_background_nursery
from hermes_trio.telemetry.log import get_logger
from hermes_trio.testing.scripted.reply import Policy, policy_for
from hermes_trio.testing.scripted.tokens import streamed_body
from hermes_trio.testing.scripted.wire import BadRequest, completion_body, error_body, read_request

logger = get_logger(__name__)


async def serve_scripted_model(
    policy: Policy,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> Never:
    """Serve until cancelled. ``task_status.started`` is told the base URL, ``http://host:port/v1``.

    Cancellation: *atomic*: requests under way are dropped, the socket is closed.

    Args:
        policy: makes each reply from the request's messages and tools.
        host: address to listen on.
        port: 0 takes a free one.
        task_status: Trio's.

    Raises:
        UnavailableError: the address cannot be listened on.
    """
    await serve_asgi(scripted_app(policy), host=host, port=port, path="/v1", task_status=task_status)


@asynccontextmanager
async def open_scripted_model(
    policy: Policy, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """The base URL of a scripted model that serves until the end of the block.

    What the block raises leaves it as it was raised.

    Cancellation: *atomic*: leaving the block, in whatever way, drops what is under way.
    """
    async with open_background_nursery() as nursery:
        url: str = await nursery.start(partial(serve_scripted_model, policy, host=host, port=port))
        yield url


def scripted_app(policy: Policy) -> Starlette:
    """The ASGI application: chat completions, the list of models, and a health route."""

    async def chat_completions(request: Request) -> Response:
        return _answered(policy, await request.body())

    async def models(_request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        entry = {"id": "scripted", "object": "model", "created": 0, "owned_by": "hermes_trio"}
        return _json({"object": "list", "data": [entry]})

    async def health(_request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return _json({"status": "ok"})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat_completions, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
        ]
    )


def _answered(policy: Policy, data: bytes) -> Response:
    try:
        request = read_request(data)
    except BadRequest as error:
        return _json(error_body(str(error)), status=400)
    try:
        reply = policy_for(policy, request.seed)(request.messages, request.tools)
    except Exception:
        # The boundary where a policy's crash becomes an answer, as a real server's does.
        logger.exception("the scripted policy failed")
        return _json(error_body("the scripted policy failed", kind="server_error"), status=500)
    body = completion_body(request, reply, completion_id=uuid4().hex[:16], created=int(time.time()))
    if request.stream:
        events = streamed_body(body, with_usage=request.stream_usage)
        return Response(events, media_type="text/event-stream")
    return _json(body)


def _json(body: object, *, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")
