"""The tool that proves cancellation paragraphs, put to functions whose answers are known."""

import pytest
import trio

from hermes_trio.testing.checkpoints import cancel_at_every_checkpoint


async def test_every_checkpoint_is_struck_while_waiting_and_when_woken():
    """Three checkpoints: a cancel before the first one, then two at each of them."""
    reached = []

    async def three():
        reached.append(0)
        for number in (1, 2, 3):
            await trio.lowlevel.checkpoint()
            reached[-1] = number

    report = await cancel_at_every_checkpoint(three)
    assert sorted(reached) == [0, 0, 0, 0, 1, 1, 2, 2, 3, 3]  # the last two are the runs that nothing struck
    assert (report.cancelled, report.survived) == (8, 0)


async def test_a_leak_in_the_middle_is_found():
    """A function that forgets its acquisition when cancelled right after it."""
    held = []

    async def leaky():
        held.append("thing")
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        held.clear()

    async def check():
        await trio.lowlevel.checkpoint()
        assert not held

    with pytest.raises(AssertionError):
        await cancel_at_every_checkpoint(leaky, check=check)


async def test_a_race_between_event_and_cancel_is_found():
    """The cancel comes after the wait has succeeded: only the woken moment can show this one."""
    taken = []

    async def take_then_lose():
        event = trio.Event()
        trio.lowlevel.current_trio_token().run_sync_soon(event.set)
        await event.wait()
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
        except trio.Cancelled:
            taken.append("lost")
            raise

    await cancel_at_every_checkpoint(take_then_lose)
    assert "lost" in taken


async def test_steps_of_child_tasks_count():
    """A child's checkpoint is a place where its parent can be cancelled."""
    interrupted = []

    async def child():
        try:
            for _ in range(5):
                await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            interrupted.append(1)
            raise

    async def parent():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            await trio.lowlevel.checkpoint()

    await cancel_at_every_checkpoint(parent)
    assert len(interrupted) >= 5


async def test_steps_of_strangers_do_not_count():
    """Tasks outside go on as they like; a shielded function is struck and survives."""

    async def stranger():
        while True:
            await trio.lowlevel.checkpoint()

    async def shielded():
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stranger)
        report = await cancel_at_every_checkpoint(shielded, max_checkpoints=20)
        nursery.cancel_scope.cancel()
    assert report.cancelled == 0
    assert report.survived > 0


async def test_a_function_that_never_ends_is_given_up():
    """Instead of running for ever."""
    with pytest.raises(AssertionError, match="not done after 5"):
        await cancel_at_every_checkpoint(_endless, max_checkpoints=5)


async def _endless():
    while True:
        await trio.lowlevel.checkpoint()
