"""What every backend keeps to, as checks for authors of backends.

Give something that opens a fresh backend whose daemons have :data:`SLOTS` slots in all, which nobody else
uses; run every check against it::

    @pytest.mark.parametrize("check", BACKEND_CHECKS, ids=lambda check: check.__name__)
    async def test_my_backend(check):
        await check(open_mine)

A check raises ``AssertionError`` when a promise is broken. ``bash`` runs nothing but ``true`` and ``echo``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import trio

from hermes_trio.backends.base import Backend
from hermes_trio.errors import Provenance
from hermes_trio.executor.executor import Executor, open_executor
from hermes_trio.tools.calls import ToolCall

SLOTS = 2

OPEN_LIMIT_S = 60.0
"""Seconds in which a backend has opened, or said why not."""

CONNECT_LIMIT_S = 10.0
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

OpenBackend = Callable[[], AbstractAsyncContextManager[Backend]]
BackendCheck = Callable[[OpenBackend], Awaitable[None]]


async def _echo(executor: Executor, trajectory: str) -> None:
    result = await executor.execute(trajectory, ToolCall("bash", {"command": f"echo {trajectory}"}))
    assert (result.provenance, result.output) == (Provenance.OK, trajectory), result.error


async def daemons_are_on_the_board_when_the_block_begins(open_backend: OpenBackend) -> None:
    """Each under a name of its own; the board is what it was until something changes."""
    with trio.fail_after(OPEN_LIMIT_S):
        async with open_backend() as backend:
            snapshot = backend.board.snapshot
            names = [endpoint.name for endpoint in snapshot.endpoints]
            assert names
            assert len(set(names)) == len(names)
            assert (snapshot.version > 0, snapshot.failure) == (True, "")
            assert await backend.board.wait_newer(snapshot.version - 1) == backend.board.snapshot


async def waiting_for_news_can_be_given_up(open_backend: OpenBackend) -> None:
    """And what is withdrawn and published again is news, to everybody who waits."""
    async with open_backend() as backend:
        board = backend.board
        version = board.snapshot.version
        with trio.move_on_after(0.05) as scope:
            await board.wait_newer(version)
        assert scope.cancelled_caught
        endpoint = board.snapshot.endpoints[0]
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(board.wait_newer, version)
            board.withdraw(endpoint.name)
            board.publish(endpoint)
        assert board.snapshot.version == version + 2


async def every_daemon_can_be_dialled(open_backend: OpenBackend) -> None:
    """More than once, and the link closes without a word from the other side."""
    async with open_backend() as backend:
        for endpoint in backend.board.snapshot.endpoints * 2:
            dialling = backend.dial(
                endpoint, max_message_bytes=MAX_MESSAGE_BYTES, connect_timeout=CONNECT_LIMIT_S
            )
            with trio.fail_after(2 * CONNECT_LIMIT_S):
                async with dialling as link:
                    await link.aclose()


async def all_slots_can_be_used_at_once(open_backend: OpenBackend) -> None:
    """As many as there are, and again after they were given back."""
    async with open_backend() as backend, open_executor(backend) as executor:
        for turn in range(2):
            names = [f"{turn}-{number}" for number in range(SLOTS)]
            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(_echo, executor, name)
            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(executor.release, name)


async def executors_can_share_it(open_backend: OpenBackend) -> None:
    """What one holds the other waits for, and gets."""
    async with open_backend() as backend, open_executor(backend) as one, open_executor(backend) as other:
        for number in range(SLOTS):
            await _echo(one, f"one-{number}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_echo, other, "other")
            await trio.sleep(0.2)  # on a slow machine it may not wait yet: then less is tried, nothing fails
            # All of them: an executor waits at the daemon that it has chosen.
            for number in range(SLOTS):
                await one.release(f"one-{number}")


async def it_can_be_left_with_calls_under_way(open_backend: OpenBackend) -> None:
    """They are ended first, as the executor is inside."""
    with trio.move_on_after(OPEN_LIMIT_S) as scope:
        async with open_backend() as backend, open_executor(backend) as executor:
            await _echo(executor, "t")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(executor.execute, "t", ToolCall("bash", {"command": "sleep 600"}))
                await trio.sleep(0.2)  # likewise: what is not under way yet is cancelled all the same
                nursery.cancel_scope.cancel()
    assert not scope.cancelled_caught


async def what_the_block_raises_comes_out_as_it_was_raised(open_backend: OpenBackend) -> None:
    """In no group: the block knows nothing of the tasks behind it."""
    await trio.lowlevel.checkpoint()
    told: Exception | None = None
    try:
        async with open_backend():
            raise ZeroDivisionError
    except Exception as error:  # whatever comes out is what is looked at
        told = error
    assert type(told) is ZeroDivisionError


async def opening_can_be_given_up(open_backend: OpenBackend) -> None:
    """At once, and then it opens as if nothing had been."""
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_backend():
            pass
    with trio.fail_after(OPEN_LIMIT_S):
        await all_slots_can_be_used_at_once(open_backend)


async def no_token_is_in_any_repr(open_backend: OpenBackend) -> None:
    """Whatever is logged."""
    async with open_backend() as backend:
        told = repr(backend) + repr(backend.board) + repr(backend.board.snapshot)
        assert backend.name in repr(backend)
        for endpoint in backend.board.snapshot.endpoints:
            assert endpoint.token is None or endpoint.token not in told


BACKEND_CHECKS: tuple[BackendCheck, ...] = (
    daemons_are_on_the_board_when_the_block_begins,
    waiting_for_news_can_be_given_up,
    every_daemon_can_be_dialled,
    all_slots_can_be_used_at_once,
    executors_can_share_it,
    it_can_be_left_with_calls_under_way,
    what_the_block_raises_comes_out_as_it_was_raised,
    opening_can_be_given_up,
    no_token_is_in_any_repr,
)
"""All of them."""
