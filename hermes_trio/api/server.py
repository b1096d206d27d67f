"""The way in: an HTTP server for an executor, in the caller's nursery's bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Never

import trio
from attrs import frozen

from hermes_trio.api.app import Mount, create_app
from hermes_trio.api.limits import ApiLimits
from hermes_trio.api.listening import HttpListener, bound_socket
from hermes_trio.api.state import ApiState
from hermes_trio.executor.executor import Executor
from hermes_trio.link.asgi import check_may_be_open
from hermes_trio.link.auth import TokenGate
from hermes_trio.link.background import open_background_nursery


@frozen(kw_only=True)
class ApiServer:
    """A server that serves.

    Args:
        url: its base URL, ``http://host:port``.
        port: the one it took.
        state: what its routes share.
        listener: its connections.
    """

    url: str
    port: int
    state: ApiState
    listener: HttpListener


@asynccontextmanager
async def open_server(
    executor: Executor,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    limits: ApiLimits | None = None,
    acquire_limit_s: float | None = None,
    mounts: Sequence[Mount] = (),
) -> AsyncIterator[ApiServer]:
    """Serve an executor over HTTP while the body runs.

    On the way out nobody new is let in, streams end, requests under way have ``limits.shutdown_grace_s`` to
    finish, and what has not finished then is dropped: its calls are ended.

    Cancellation: shielded, at most ``limits.shutdown_grace_s`` + 1 s.

    Args:
        executor: runs the calls.
        host: address to listen on.
        port: 0 takes a free one.
        token: what clients must present; ``None``: nothing, which only this machine's own addresses allow.
        limits: what a client may cost; ``None``: the defaults.
        acquire_limit_s: how long the first call of a trajectory waits for a slot; ``None``: for ever.
        mounts: give further routes: the console's.

    Raises:
        InvalidInputError: an address that others can reach, and no token.
        UnavailableError: the address cannot be listened on.
    """
    check_may_be_open(host, has_token=token is not None)
    gate = None if token is None else TokenGate([token])
    limits = limits or ApiLimits()
    state = ApiState(executor=executor, gate=gate, limits=limits, acquire_limit_s=acquire_limit_s)
    listening = bound_socket(host, port)
    shown, taken = f"[{host}]" if ":" in host else host, listening.getsockname()[1]
    listener = HttpListener(create_app(state, mounts=mounts), listening, limits)
    server = ApiServer(url=f"http://{shown}:{taken}", port=taken, state=state, listener=listener)
    over = trio.Event()
    async with open_background_nursery() as nursery:
        nursery.start_soon(_serve, listener, state.stopping, over)
        try:
            yield server
        finally:
            state.stopping.set()
            deadline = trio.current_time() + limits.shutdown_grace_s + 1.0
            with trio.CancelScope(shield=True, deadline=deadline):
                await over.wait()


async def _serve(listener: HttpListener, stop: trio.Event, over: trio.Event) -> None:
    try:
        await listener.run(stop=stop)
    finally:
        over.set()


async def serve_api(
    executor: Executor,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    limits: ApiLimits | None = None,
    acquire_limit_s: float | None = None,
    mounts: Sequence[Mount] = (),
    task_status: trio.TaskStatus[ApiServer] = trio.TASK_STATUS_IGNORED,
) -> Never:
    """Serve until cancelled: :func:`open_server` as a task. ``task_status.started`` is given the server.

    Cancellation: shielded, at most ``limits.shutdown_grace_s`` + 1 s.

    Args:
        executor: see :func:`open_server`, and for all that follows.
        host: likewise.
        port: likewise.
        token: likewise.
        limits: likewise.
        acquire_limit_s: likewise.
        mounts: likewise.
        task_status: Trio's.

    Raises:
        InvalidInputError: see :func:`open_server`.
        UnavailableError: likewise.
    """
    async with open_server(
        executor,
        host=host,
        port=port,
        token=token,
        limits=limits,
        acquire_limit_s=acquire_limit_s,
        mounts=mounts,
    ) as server:
        task_status.started(server)
        await trio.sleep_forever()
