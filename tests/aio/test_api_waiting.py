"""Waiting for a slot on behalf of a request: what is done is told, whatever else happens."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing

from hermes_trio.api.state import ApiState
from hermes_trio.api.waiting import NoSlotInTimeError, with_slot


def waiting(*, limit_s: float | None = 1.0, holds_slot: bool = False) -> ApiState:
    """As much of a server as is asked here."""
    executor: Any = SimpleNamespace(holds_slot=lambda _trajectory: holds_slot)
    return cast("ApiState", SimpleNamespace(acquire_limit_s=limit_s, executor=executor))


async def take_two_seconds() -> str:
    """Work that a cancel does not cut short. Cancellation: shielded, 2 s."""
    with trio.CancelScope(shield=True):
        await trio.sleep(2)
    return "done"


async def test_what_was_done_is_told_although_patience_has_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Else a command that ran would be told as one that found no slot."""
    assert await with_slot(waiting(), "t", take_two_seconds) == "done"


async def test_who_waits_in_vain_is_told_after_the_limit(autojump_clock: trio.testing.MockClock) -> None:
    """And whatever was waiting is cancelled."""
    with pytest.raises(NoSlotInTimeError):
        await with_slot(waiting(), "t", trio.sleep_forever)
    assert trio.current_time() == pytest.approx(1.0)


@pytest.mark.parametrize("server", [waiting(limit_s=None), waiting(holds_slot=True)])
async def test_who_need_not_wait_has_no_limit(
    autojump_clock: trio.testing.MockClock, server: ApiState
) -> None:
    """Nor who was told to wait for ever."""
    with trio.move_on_after(100) as scope:
        await with_slot(server, "t", trio.sleep_forever)
    assert scope.cancelled_caught


async def test_an_error_of_the_work_leaves_as_it_was(autojump_clock: trio.testing.MockClock) -> None:
    """In no group."""

    async def fail() -> None:
        await trio.sleep(0.5)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await with_slot(waiting(), "t", fail)
