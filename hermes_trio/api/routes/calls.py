"""Running calls: one, several, streamed; and giving slots back."""

from __future__ import annotations

import codecs
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import trio
from starlette.requests import Request
from starlette.responses import Response

from hermes_trio.api.answers import (
    SSE,
    Emit,
    EventStreamResponse,
    json_body,
    json_bytes,
    json_response,
    sse_event,
)
from hermes_trio.api.endpoint import Endpoint, Parameter
from hermes_trio.api.idempotency import MAX_KEY_CHARS, Conflict
from hermes_trio.api.payloads import (
    BatchRequest,
    BatchResponse,
    ExecuteRequest,
    OkResponse,
    ReleaseRequest,
    ToolResultPayload,
    read_payload,
)
from hermes_trio.api.problems import ProblemError
from hermes_trio.api.reading import parse_json, read_body, read_request
from hermes_trio.api.state import ApiState
from hermes_trio.api.waiting import call_with_slot
from hermes_trio.errors import Provenance
from hermes_trio.executor.stream import OutputChunk
from hermes_trio.tools.calls import ToolCall, ToolResult

_EXECUTE: Final = {
    "trajectory_id": "traj-1",
    "tool": {"name": "bash", "arguments": {"command": "echo hi"}, "uniq_id": "call-1"},
    "timeout_s": 30.0,
}
_RESULT: Final = {
    "success": True,
    "output": "hi",
    "error": "",
    "metadata": {"exit_code": 0, "duration_s": 0.003, "timeout": False, "sandboxed": True},
    "uniq_id": "call-1",
    "provenance": "ok",
}
_KEY: Final = Parameter(
    name="Idempotency-Key",
    where="header",
    schema={"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS},
    description="Requests with the same key and body run once; later ones are given the first one's answer.",
)


def call_endpoints(api: ApiState) -> tuple[Endpoint, ...]:
    """The operations."""
    return (
        Endpoint(
            method="POST",
            path="/execute",
            name="execute",
            summary="Run one tool call in its trajectory's slot. How it ended is the answer.",
            handle=partial(_execute, api),
            request=ExecuteRequest,
            example=_EXECUTE,
            response=ToolResultPayload,
            response_example=_RESULT,
            media={
                SSE: "With `Accept: text/event-stream`: events `output` (`stream`, `text`) as the command "
                "prints, then one event `result`."
            },
            parameters=(_KEY,),
            statuses=(408, 409, 413, 503),
        ),
        Endpoint(
            method="POST",
            path="/batch",
            name="batch",
            summary="Run several calls at once. Each result takes no longer than its own call.",
            handle=partial(_batch, api),
            request=BatchRequest,
            example={"calls": [_EXECUTE]},
            response=BatchResponse,
            response_example={"results": [_RESULT]},
            media={SSE: "Events `result` (`index`, `result`), each as its call ends; at last one `end`."},
            statuses=(408, 413, 503),
        ),
        Endpoint(
            method="POST",
            path="/release",
            name="release",
            summary="Give a trajectory's slot back. Idempotent; what still runs there is ended.",
            handle=partial(_release, api),
            request=ReleaseRequest,
            example={"trajectory_id": "traj-1", "reset_workspace": True},
            response=OkResponse,
            response_example={"status": "ok"},
            statuses=(408, 413, 503),
        ),
    )


async def _execute(api: ApiState, request: Request) -> Response:
    body = await read_body(request, api.limits, api.bodies)
    asked = read_payload(ExecuteRequest, parse_json(body))
    if _wants_stream(request):
        return EventStreamResponse(partial(_stream, api, asked), until=api.stopping)
    key = request.headers.get("idempotency-key")
    if key is None:
        return json_response(await _run(api, asked))
    return json_body(await _run_once(api, key, body, asked))


def _wants_stream(request: Request) -> bool:
    return SSE in request.headers.get("accept", "")


async def _run(api: ApiState, asked: ExecuteRequest) -> dict[str, Any]:
    result = await execute_within(api, asked.trajectory_id, asked.tool.to_tool_call(), asked.timeout_s)
    return ToolResultPayload.of(result).to_mapping()


async def execute_within(
    api: ApiState, trajectory_id: str, call: ToolCall, limit_s: float | None
) -> ToolResult:
    """Run a call; its trajectory waits for a slot as long as the settings say.

    Cancellation: *abandons*.
    """
    execute = partial(api.executor.execute, trajectory_id, call, limit_s=limit_s)
    return await call_with_slot(api, trajectory_id, call, execute)


async def _run_once(api: ApiState, key: str, body: bytes, asked: ExecuteRequest) -> bytes:
    """Run a request with a key, or give the answer that it was given before."""
    await trio.lowlevel.checkpoint()
    if not 1 <= len(key) <= MAX_KEY_CHARS:
        raise ProblemError(422, f"must have 1 to {MAX_KEY_CHARS} characters", field="Idempotency-Key")
    try:
        known = api.keys.begin(key, body, now=trio.current_time())
    except Conflict as conflict:
        raise _refused(conflict) from None
    if known is not None:
        return known
    # Whoever leaves half-way has its answer remembered too: what may have run is not run again.
    answer = json_bytes(ToolResultPayload.of(_left(asked)).to_mapping())
    try:
        answer = json_bytes(await _run(api, asked))
    finally:
        api.keys.finish(key, answer)
    return answer


def _refused(conflict: Conflict) -> ProblemError:
    if conflict.running:
        told = "a request with this Idempotency-Key is under way"
        return ProblemError(409, told, field="Idempotency-Key", headers={"retry-after": "1"})
    return ProblemError(422, "this key was used for another request", field="Idempotency-Key")


def _left(asked: ExecuteRequest) -> ToolResult:
    told = "The client of the request that ran this call left before it ended; the call was ended."
    return ToolResult(False, error=told, uniq_id=asked.tool.uniq_id, provenance=Provenance.CANCELLED)


async def _stream(api: ApiState, asked: ExecuteRequest, emit: Emit) -> None:
    call = asked.tool.to_tool_call()
    result = await call_with_slot(
        api, asked.trajectory_id, call, partial(_emit_output, api, asked, call, emit)
    )
    await emit(sse_event("result", ToolResultPayload.of(result).to_mapping()))


async def _emit_output(api: ApiState, asked: ExecuteRequest, call: ToolCall, emit: Emit) -> ToolResult:
    """Output as it is printed, as text; a character that lies across two chunks comes with the second."""
    decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")}
    async with api.executor.stream(asked.trajectory_id, call, limit_s=asked.timeout_s) as items:
        async for item in items:
            if not isinstance(item, OutputChunk):
                return item
            text = decoders[item.stream].decode(item.data)
            await emit(sse_event("output", {"stream": item.stream, "text": text}))
    raise AssertionError("a stream ends with its result")


async def _batch(api: ApiState, request: Request) -> Response:
    asked = await read_request(request, BatchRequest, api.limits, api.bodies)
    if len(asked.calls) > api.limits.max_batch:
        raise ProblemError(422, f"has more than {api.limits.max_batch} entries", field="calls")
    calls = [
        read_payload(ExecuteRequest, each, where=f"calls.{index}") for index, each in enumerate(asked.calls)
    ]
    if _wants_stream(request):
        return EventStreamResponse(partial(_stream_results, api, calls), until=api.stopping)
    results: dict[int, Mapping[str, Any]] = {}

    async def take(index: int, result: Mapping[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        results[index] = result

    await _run_all(api, calls, take)
    return json_response({"results": [results[index] for index in range(len(calls))]})


Take = Callable[[int, Mapping[str, Any]], Awaitable[None]]


async def _stream_results(api: ApiState, calls: Sequence[ExecuteRequest], emit: Emit) -> None:
    async def take(index: int, result: Mapping[str, Any]) -> None:
        await emit(sse_event("result", {"index": index, "result": result}))

    await _run_all(api, calls, take)
    await emit(sse_event("end", {"results": len(calls)}))


async def _run_all(api: ApiState, calls: Sequence[ExecuteRequest], take: Take) -> None:
    """Trajectories at once, the calls of each in their order."""
    lanes = dict[str, list[tuple[int, ExecuteRequest]]]()
    for index, call in enumerate(calls):
        lanes.setdefault(call.trajectory_id, []).append((index, call))

    async def run(lane: Sequence[tuple[int, ExecuteRequest]]) -> None:
        await trio.lowlevel.checkpoint()
        for index, call in lane:
            await take(index, await _run(api, call))

    await trio.lowlevel.checkpoint()
    async with trio.open_nursery() as nursery:
        for lane in lanes.values():
            nursery.start_soon(run, lane)


async def _release(api: ApiState, request: Request) -> Response:
    asked = await read_request(request, ReleaseRequest, api.limits, api.bodies)
    api.quiet.pop(asked.trajectory_id, None)
    await api.executor.release(asked.trajectory_id, reset_workspace=asked.reset_workspace)
    return json_response({"status": "ok"})
