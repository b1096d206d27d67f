"""The watchdog, on a loop that is really blocked."""

from __future__ import annotations

import threading
import time

import pytest
import trio

from hermes_trio.telemetry.watchdog import Blockage, open_watchdog


def block_it(seconds: float) -> None:
    """What a careless tool does."""
    time.sleep(seconds)


async def test_a_blocked_loop_is_told_once_with_its_stack() -> None:
    """While it is still blocked: the name of the function that holds it is in the stack."""
    told: list[Blockage] = []
    async with open_watchdog(limit_s=0.1, on_blocked=told.append):
        await trio.sleep(0.2)
        before = len(told)
        block_it(1.0)
        await trio.sleep(0.2)
    mine = [each for each in told[before:] if "block_it" in each.stack]
    assert len(mine) == 1
    assert 0.1 < mine[0].blocked_s < 1.0


async def test_nothing_is_left_of_it() -> None:
    """Neither task nor thread, also when the body fails."""
    with pytest.RaisesGroup(ValueError):
        async with open_watchdog(limit_s=0.1):
            raise ValueError
    with trio.fail_after(5):
        while any(thread.name == "hermes-trio watchdog" for thread in threading.enumerate()):  # noqa: ASYNC110
            await trio.sleep(0.02)


async def test_a_blockage_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Where nobody asks for it in another way."""
    async with open_watchdog(limit_s=0.1):
        block_it(0.5)
    assert "the event loop has been blocked" in caplog.text
