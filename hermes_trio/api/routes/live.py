"""What the server says of itself: health, figures, and what is happening."""

from __future__ import annotations

from functools import partial
from typing import Final

import trio
from starlette.requests import Request
from starlette.responses import Response

from hermes_trio.api.answers import SSE, Emit, EventStreamResponse, json_response, sse_event
from hermes_trio.api.endpoint import Endpoint, Parameter
from hermes_trio.api.metrics import CONTENT_TYPE, exposition
from hermes_trio.api.payloads import MessageResponse, OkResponse, StatusResponse
from hermes_trio.api.problems import ProblemError
from hermes_trio.api.state import ApiState
from hermes_trio.telemetry.events import KINDS, to_mapping

LINGER_S: Final = 0.05
"""How long an event waits for company: a server that is busy must not be woken for each."""


def live_endpoints(api: ApiState) -> tuple[Endpoint, ...]:
    """The operations."""
    return (
        Endpoint(
            method="GET",
            path="/",
            name="root",
            summary="Say who answers here.",
            handle=_root,
            response=MessageResponse,
            response_example={"message": "hermes_trio tool executor"},
            secured=False,
            tag="server",
        ),
        Endpoint(
            method="GET",
            path="/health",
            name="health",
            summary="The process answers.",
            handle=_health,
            response=OkResponse,
            response_example={"status": "ok"},
            secured=False,
            tag="server",
        ),
        Endpoint(
            method="GET",
            path="/ready",
            name="ready",
            summary="Calls can be served: a daemon with slots is there, and the server is not stopping.",
            handle=partial(_ready, api),
            response=OkResponse,
            response_example={"status": "ok"},
            statuses=(503,),
            secured=False,
            tag="server",
        ),
        Endpoint(
            method="GET",
            path="/status",
            name="status",
            summary="Figures of the executor and its slots.",
            handle=partial(_status, api),
            response=StatusResponse,
            response_example={
                "queue_size": 0,
                "total_requests": 12,
                "total_errors": 1,
                "pool": {
                    "total_slots": 16,
                    "available_slots": 15,
                    "acquired_slots": 1,
                    "containers": 1,
                    "slots_by_state": {"free": 15, "leased": 1, "changing": 0},
                    "started": True,
                },
                "in_flight": 0,
                "by_provenance": {"ok": 11, "tool_error": 1},
            },
            secured=False,
            tag="server",
        ),
        Endpoint(
            method="GET",
            path="/metrics",
            name="metrics",
            summary="Figures for Prometheus.",
            handle=partial(_metrics, api),
            media={"text/plain": "Prometheus' text format."},
            statuses=(501,),
            tag="server",
        ),
        Endpoint(
            method="GET",
            path="/events",
            name="events",
            summary="What happens, as it happens: one event `snapshot`, then an event for each thing.",
            handle=partial(_events, api),
            media={SSE: "Events `snapshot`, and those of the event bus by their type; ids are its numbers."},
            parameters=(
                Parameter(
                    name="kinds",
                    where="query",
                    schema={"type": "string"},
                    description="Types of events wanted, with commas between them; left out: all.",
                ),
            ),
            tag="server",
        ),
    )


async def _root(_request: Request) -> Response:
    await trio.lowlevel.checkpoint()
    return json_response({"message": "hermes_trio tool executor"})


async def _health(_request: Request) -> Response:
    await trio.lowlevel.checkpoint()
    return json_response({"status": "ok"})


async def _ready(api: ApiState, _request: Request) -> Response:
    await trio.lowlevel.checkpoint()
    slots = api.executor.statistics().slots
    if api.stopping.is_set():
        raise ProblemError(503, "the server is stopping")
    if slots.daemons == slots.closed or slots.total == 0:
        raise ProblemError(503, "no sandbox daemon takes calls now")
    return json_response({"status": "ok"})


async def _status(api: ApiState, _request: Request) -> Response:
    await trio.lowlevel.checkpoint()
    told = api.executor.statistics()
    slots = told.slots
    pool = {
        "total_slots": slots.total,
        "available_slots": slots.free,
        "acquired_slots": slots.taken,
        "containers": slots.daemons,
        "slots_by_state": {
            "free": slots.free,
            "leased": slots.leased,
            "changing": slots.taken - slots.leased,
        },
        "started": True,
    }
    return json_response(
        {
            "queue_size": slots.waiting + sum(link.queued for link in told.links.values()),
            "total_requests": told.total_requests,
            "total_errors": told.total_errors,
            "pool": pool,
            "in_flight": told.in_flight,
            "by_provenance": told.by_provenance,
        }
    )


async def _metrics(api: ApiState, _request: Request) -> Response:
    await trio.lowlevel.checkpoint()
    try:
        told = exposition(api.executor)
    except ModuleNotFoundError as error:
        raise ProblemError(501, "install hermes-trio[telemetry] to have figures for Prometheus") from error
    return Response(told, media_type=CONTENT_TYPE)


async def _events(api: ApiState, request: Request) -> Response:
    await trio.lowlevel.checkpoint()
    kinds = _kinds(request.query_params.get("kinds"))
    return EventStreamResponse(partial(_tell, api, kinds), until=api.stopping)


def _kinds(told: str | None) -> list[type] | None:
    if told is None:
        return None
    unknown = [name for name in told.split(",") if name not in KINDS]
    if unknown:
        raise ProblemError(422, f"no event is called {unknown[0][:64]!r}", field="kinds")
    return [KINDS[name] for name in told.split(",")]


async def _tell(api: ApiState, kinds: list[type] | None, emit: Emit) -> None:
    async with api.executor.events("http", kinds=kinds) as events:
        snapshot = api.executor.snapshot()
        await emit(sse_event("snapshot", snapshot.to_mapping(), event_id=snapshot.sequence))
        while True:
            some = await events.receive_some(1024, linger_s=LINGER_S)
            written = [to_mapping(each) for each in some if each.sequence > snapshot.sequence]
            await emit(b"".join(sse_event(each["type"], each, event_id=each["sequence"]) for each in written))
