"""The nursery for helpers of a block."""

import pytest
import trio

from hermes_trio.link.background import open_background_nursery
from hermes_trio.testing.checkpoints import cancel_at_every_checkpoint


async def test_helpers_end_with_the_block():
    """However long they wanted to go on."""
    ended = []

    async def helper():
        try:
            await trio.sleep_forever()
        finally:
            ended.append(1)

    async with open_background_nursery() as nursery:
        nursery.start_soon(helper)
        await trio.testing.wait_all_tasks_blocked()
    assert ended == [1]


async def test_the_blocks_error_leaves_as_it_was_raised():
    """The very object, in no group."""
    mine = ValueError("mine")

    async def block():
        async with open_background_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise mine

    with pytest.raises(ValueError, match="mine") as caught:
        await block()
    assert caught.value is mine


async def test_the_blocks_error_survives_a_cancel_from_outside():
    """The helpers are cancelled by two scopes then; neither may wrap or hide it."""

    async def block(scope):
        async with open_background_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            scope.cancel()
            raise ValueError("mine")

    with trio.CancelScope() as scope, pytest.raises(ValueError, match="mine"):
        await block(scope)


async def test_a_cancel_from_outside_passes_through():
    """As through any block."""
    with trio.CancelScope() as scope:
        async with open_background_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_helpers_outlive_a_cancel_until_the_block_is_over(autojump_clock):
    """The block may still need them to say goodbye."""
    order = []

    async def helper():
        try:
            await trio.sleep_forever()
        finally:
            order.append("helper")

    with trio.CancelScope() as scope:
        async with open_background_nursery() as nursery:
            nursery.start_soon(helper)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            order.append("block")
    assert order == ["block", "helper"]


async def test_a_cancel_anywhere_leaves_no_helper():
    """Nor does it hang: the shield ends with the block."""
    running = []

    async def helper():
        running.append(1)
        try:
            await trio.sleep_forever()
        finally:
            running.pop()

    async def use():
        async with open_background_nursery() as nursery:
            nursery.start_soon(helper)
            await trio.lowlevel.checkpoint()

    async def check():
        await trio.lowlevel.checkpoint()
        assert not running

    with trio.fail_after(5):
        report = await cancel_at_every_checkpoint(use, check=check)
    assert report.cancelled > 4


async def test_a_helpers_failure_ends_the_block():
    """And comes out in a group, as from any nursery."""

    async def fail():
        await trio.lowlevel.checkpoint()
        raise KeyError("helper")

    async def block():
        async with open_background_nursery() as nursery:
            nursery.start_soon(fail)
            await trio.sleep_forever()

    with pytest.RaisesGroup(pytest.RaisesExc(KeyError, match="helper"), flatten_subgroups=True):
        await block()


async def test_both_failures_come_out():
    """Neither hides the other."""

    async def fail():
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("helper")

    async def block():
        async with open_background_nursery() as nursery:
            nursery.start_soon(fail)
            await trio.testing.wait_all_tasks_blocked()
            raise ValueError("mine")

    with pytest.RaisesGroup(
        pytest.RaisesExc(ValueError, match="mine"),
        pytest.RaisesExc(KeyError, match="helper"),
        flatten_subgroups=True,
    ):
        await block()
