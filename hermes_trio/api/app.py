"""The ASGI application: routes of a table of endpoints, and one boundary where errors become answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from importlib import metadata
from typing import Any

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hermes_trio.api.answers import json_body, json_bytes
from hermes_trio.api.endpoint import Endpoint
from hermes_trio.api.guard import AsgiApp, OriginGuard
from hermes_trio.api.openapi import openapi_document
from hermes_trio.api.problems import ProblemError, problem_of, problem_response
from hermes_trio.api.routes.artifacts import artifact_endpoints
from hermes_trio.api.routes.calls import call_endpoints
from hermes_trio.api.routes.files import file_endpoints
from hermes_trio.api.routes.live import live_endpoints
from hermes_trio.api.routes.slots import slot_endpoints
from hermes_trio.api.state import ApiState
from hermes_trio.api.tracing import TracedRequests
from hermes_trio.errors import HermesTrioError
from hermes_trio.telemetry.log import get_logger

logger = get_logger(__name__)

Mount = Callable[[ApiState], Sequence[BaseRoute]]
"""Gives further routes, which share the server's state: the console's."""


def endpoints_of(api: ApiState) -> tuple[Endpoint, ...]:
    """All operations, in the order of the document."""
    return (
        *call_endpoints(api),
        *slot_endpoints(api),
        *artifact_endpoints(api),
        *file_endpoints(api),
        *live_endpoints(api),
    )


def create_app(api: ApiState, *, mounts: Sequence[Mount] = ()) -> AsgiApp:
    """The application. It must run on Trio, in a server that says when a client has left.

    Args:
        api: what the routes share.
        mounts: give further routes.
    """
    endpoints = endpoints_of(api)
    document = json_bytes(openapi_document(endpoints, version=_version(), has_token=api.gate is not None))
    routes: list[BaseRoute] = [_route(api, path, some) for path, some in _by_path(endpoints).items()]
    routes.append(Route("/openapi.json", partial(_document, document), methods=["GET"]))
    for mount in mounts:
        routes += mount(api)
    handlers: dict[Any, Any] = {HTTPException: _refused, Exception: _crashed}
    app: Any = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False  # a redirect would lose the body of a POST
    traced = TracedRequests(app, paths=[each.path for each in endpoints])
    return OriginGuard(traced, has_token=api.gate is not None)


def _by_path(endpoints: Iterable[Endpoint]) -> dict[str, dict[str, Endpoint]]:
    """Each path once, so that a wrong method is told all that there are."""
    found: dict[str, dict[str, Endpoint]] = {}
    for each in endpoints:
        found.setdefault(each.path, {})[each.method] = each
    return found


def _route(api: ApiState, path: str, endpoints: Mapping[str, Endpoint]) -> Route:
    return Route(path, partial(_answer, api, endpoints), methods=list(endpoints))


async def _answer(api: ApiState, endpoints: Mapping[str, Endpoint], request: Request) -> Response:
    """The boundary: whatever is refused, or fails in our own words, is a problem."""
    await trio.lowlevel.checkpoint()
    endpoint = endpoints["GET" if request.method == "HEAD" else request.method]
    try:
        if endpoint.secured:
            api.check_token(request.headers.get("authorization"))
        return await endpoint.handle(request)
    except ProblemError as problem:
        return problem_response(problem)
    except HermesTrioError as error:
        return problem_response(problem_of(error))
    finally:
        api.bodies.leave(request)


async def _document(document: bytes, _request: Request) -> Response:
    await trio.lowlevel.checkpoint()
    return json_body(document)


async def _refused(_request: Request, error: HTTPException) -> Response:
    await trio.lowlevel.checkpoint()
    headers = dict(error.headers or {})
    return problem_response(
        ProblemError(error.status_code, HTTPStatus(error.status_code).phrase, headers=headers)
    )


async def _crashed(request: Request, error: Exception) -> Response:
    """A bug of ours. Logged here; the client learns no more than that."""
    await trio.lowlevel.checkpoint()
    logger.error("a request crashed", method=request.method, path=request.url.path, exc_info=error)
    return problem_response(ProblemError(500, HTTPStatus.INTERNAL_SERVER_ERROR.phrase))


def _version() -> str:
    try:
        return metadata.version("hermes-trio")
    except metadata.PackageNotFoundError:
        return "0"
