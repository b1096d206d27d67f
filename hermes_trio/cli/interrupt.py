"""Ctrl-C and SIGTERM as a cancellation that can be asked about afterwards."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from attrs import define


@define
class Interruption:
    """Whether a block was interrupted, and by what."""

    signal_number: int | None = None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal ended."""
        assert self.signal_number is not None
        return 128 + self.signal_number


@asynccontextmanager
async def open_interruptible() -> AsyncIterator[Interruption]:
    """A block that the first SIGINT or SIGTERM cancels: what is in it cleans up, and the program goes on.

    Until the block is left further signals do nothing: each clean-up in it has a bound of its own, and
    cutting it short would leave processes behind.

    Cancellation: *atomic*.

    Yields:
        What says afterwards whether the block was cut short.
    """
    interruption = Interruption()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            body = trio.CancelScope()

            async def watch() -> None:
                # Outside of what it cancels, so that it takes later signals too: those that nobody took
                # when the receiver closes are raised again, and SIGTERM would end the program there.
                async for number in signals:
                    interruption.signal_number = interruption.signal_number or number
                    body.cancel()

            nursery.start_soon(watch)
            with body:
                yield interruption
            nursery.cancel_scope.cancel()
