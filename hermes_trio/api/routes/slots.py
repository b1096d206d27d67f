"""Whole workspaces: quiet for a verifier, forked for a group."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from hermes_trio.api.answers import json_response
from hermes_trio.api.endpoint import Endpoint
from hermes_trio.api.payloads import (
    MAX_NAME_CHARS,
    ForkRequest,
    OkResponse,
    QuiesceRequest,
    QuiesceResponse,
    ToolResultPayload,
)
from hermes_trio.api.problems import ProblemError
from hermes_trio.api.reading import read_request
from hermes_trio.api.state import ApiState
from hermes_trio.api.waiting import call_with_slot, with_slot


def slot_endpoints(api: ApiState) -> tuple[Endpoint, ...]:
    """The operations."""
    return (
        Endpoint(
            method="POST",
            path="/quiesce",
            name="quiesce",
            summary="Wait until nothing runs in a slot any more, refuse its trajectory's further calls, and "
            "run a verifier in the quiet slot.",
            handle=partial(_quiesce, api),
            request=QuiesceRequest,
            example={
                "trajectory_id": "traj-1",
                "tool": {"name": "bash", "arguments": {"command": "test -f answer.txt"}},
                "timeout_s": 30.0,
            },
            response=QuiesceResponse,
            response_example={
                "status": "quiet",
                "result": {
                    "success": True,
                    "output": "",
                    "error": "",
                    "metadata": {"exit_code": 0},
                    "uniq_id": "call-1",
                    "provenance": "ok",
                },
            },
            statuses=(408, 409, 410, 413, 503),
            tag="workspaces",
        ),
        Endpoint(
            method="POST",
            path="/fork",
            name="fork",
            summary="Give new trajectories a workspace each that begins as this trajectory's is now.",
            handle=partial(_fork, api),
            request=ForkRequest,
            example={"trajectory_id": "traj-1", "into": ["traj-1a", "traj-1b"]},
            response=OkResponse,
            response_example={"status": "ok"},
            statuses=(408, 409, 410, 413, 503),
            tag="workspaces",
        ),
    )


async def _fork(api: ApiState, request: Request) -> Response:
    asked = await read_request(request, ForkRequest, api.limits, api.bodies)
    if not all(1 <= len(name) <= MAX_NAME_CHARS for name in asked.into):
        raise ProblemError(422, f"each must have 1 to {MAX_NAME_CHARS} characters", field="into")
    await api.executor.fork(asked.trajectory_id, into=asked.into)
    return json_response({"status": "ok"})


async def _quiesce(api: ApiState, request: Request) -> Response:
    asked = await read_request(request, QuiesceRequest, api.limits, api.bodies)
    quiet = api.quiet.get(asked.trajectory_id)
    if quiet is None:
        if len(api.quiet) >= api.limits.max_quiet:
            raise ProblemError(503, f"{api.limits.max_quiet} trajectories are quiet; release some")
        quiesce = partial(api.executor.quiesce, asked.trajectory_id)
        quiet = await with_slot(api, asked.trajectory_id, quiesce)
        api.quiet[asked.trajectory_id] = quiet
    result = None
    if asked.tool is not None:
        call = asked.tool.to_tool_call()
        verify = partial(quiet.execute, call, limit_s=asked.timeout_s)
        result = await call_with_slot(api, asked.trajectory_id, call, verify)
    if asked.reopen:
        api.quiet.pop(asked.trajectory_id, None)
        quiet.reopen()
    return json_response(
        {
            "status": "open" if asked.reopen else "quiet",
            "result": None if result is None else ToolResultPayload.of(result).to_mapping(),
        }
    )
