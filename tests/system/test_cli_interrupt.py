"""Signals as a cancellation: the first one stops the block, the others wait until it has cleaned up."""

from __future__ import annotations

import os
import signal

import pytest
import trio

from hermes_trio.cli.interrupt import open_interruptible


async def test_a_block_without_a_signal_is_just_a_block() -> None:
    """It is left as it ends."""
    async with open_interruptible() as interruption:
        await trio.lowlevel.checkpoint()
    assert interruption.signal_number is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_impatience_during_the_clean_up_changes_nothing(number: signal.Signals) -> None:
    """A second and a third signal neither cut it short nor end the program afterwards."""
    cleaned = False
    with trio.fail_after(10):
        async with open_interruptible() as interruption:
            try:
                os.kill(os.getpid(), number)
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(5, shield=True):
                    for _ in range(2):
                        os.kill(os.getpid(), number)
                        await trio.sleep(0.05)
                    cleaned = True
    assert cleaned
    assert interruption.exit_code == 128 + number


async def test_an_error_in_the_block_goes_its_way() -> None:
    """In a group, as out of any nursery."""
    with pytest.RaisesGroup(KeyError):
        async with open_interruptible():
            await trio.lowlevel.checkpoint()
            raise KeyError
