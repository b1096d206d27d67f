"""The server of the arm ``http_per_call``: Starlette on Hypercorn under Trio, bubblewrap per command.

``python -m benchmarks.arms.http_server OPTIONS`` prints its URL, and ends when its input does.
"""

from __future__ import annotations

import os
import sys

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.arms.base import ArmOptions
from benchmarks.arms.commands import sandboxed_argv
from benchmarks.arms.spawn import judge
from benchmarks.arms.spawning import run_process
from benchmarks.arms.workspaces import Workspaces, open_workspaces
from benchmarks.lib.converter import from_line


def make_application(workspaces: Workspaces, *, allow_network: bool) -> Starlette:
    """One route: run a command in the trajectory's workspace, answer how it ended."""

    async def execute(request: Request) -> JSONResponse:
        body = await request.json()
        workspace, uid = workspaces.of(body["trajectory_id"])
        argv = sandboxed_argv(body["command"], workspace=workspace, uid=uid, allow_network=allow_network)
        finished = await run_process(argv, limit_s=body["limit_s"], keep_output=True)
        outcome = judge(finished)
        output = "" if finished is None else finished.output.decode(errors="replace")
        return JSONResponse({"ok": outcome.ok, "reason": outcome.reason, "output": output})

    return Starlette(routes=[Route("/execute", execute, methods=["POST"])])


async def _serve_until_input_ends(options: ArmOptions) -> None:
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    config.graceful_timeout = 1.0
    with open_workspaces(options.slots) as workspaces:
        application = make_application(workspaces, allow_network=options.allow_network)
        async with trio.open_nursery() as nursery:
            bound = await nursery.start(serve, application, config)
            print(bound[0], flush=True)
            await trio.lowlevel.wait_readable(0)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    # Nothing is ever written to the input: that it becomes readable means that it has ended.
    os.set_blocking(0, False)
    trio.run(_serve_until_input_ends, from_line(sys.argv[1].encode(), ArmOptions))
