"""The contract of :class:`~hermes_trio.link.message.MessageLink`, as checks that any transport can be put to.

For authors of transports: write a context manager that opens a connected pair, and run every check of
:data:`LINK_CHECKS` against it, one fresh pair (or more) per check::

    @pytest.mark.parametrize("check", LINK_CHECKS, ids=lambda check: check.__name__)
    async def test_my_link(check):
        await check(open_my_pair)

A check raises ``AssertionError`` when the contract is broken. Checks assume nothing about the clock: over
memory they run on a virtual one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from itertools import cycle
from typing import Protocol

import trio

from hermes_trio.errors import BrokenLinkError, ClosedError, HermesTrioError
from hermes_trio.link.message import MessageLink

CLOSE_TIMEOUT_S = 0.5
"""What a pair under test must be opened with as ``close_timeout``."""

_MIB = 1024 * 1024
_SLACK_S = 1.0


class OpenPair(Protocol):
    """Opens two ends of one link; closes what the check left open."""

    def __call__(
        self, *, max_message_bytes: int = 4 * _MIB
    ) -> AbstractAsyncContextManager[tuple[MessageLink, MessageLink]]:
        """Open a pair whose ends take messages of at most this size."""
        ...


LinkCheck = Callable[[OpenPair], Awaitable[None]]


async def messages_arrive_whole_and_in_order(open_pair: OpenPair) -> None:
    """Both directions at once. Cancellation: abandons the pair."""
    await trio.lowlevel.checkpoint()
    sent = [b"%d:" % number + bytes(number % 251) * (number % 7) for number in range(200)]

    async def talk(link: MessageLink) -> None:
        await trio.lowlevel.checkpoint()
        for message in sent:
            await link.send_message(message)

    async def listen(link: MessageLink) -> None:
        await trio.lowlevel.checkpoint()
        assert [await link.receive_message() for _ in sent] == sent

    async with open_pair() as pair, trio.open_nursery() as nursery:
        for link in pair:
            nursery.start_soon(talk, link)
            nursery.start_soon(listen, link)


async def every_size_survives(open_pair: OpenPair) -> None:
    """From nothing to the limit, over the borders of the framing. Cancellation: abandons the pair."""
    async with open_pair() as (near, far):
        for size in (0, 1, 125, 126, 65_535, 65_536, _MIB, 4 * _MIB):
            message = bytes(range(256)) * (size // 256) + bytes(size % 256)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(near.send_message, message)
                received = await far.receive_message()
            assert received == message, f"a message of {size} bytes changed"
            assert type(received) is bytes


async def a_sender_waits_for_its_receiver(open_pair: OpenPair) -> None:
    """What is not taken must not pile up. Cancellation: abandons the pair."""
    async with open_pair() as (near, _far):
        with trio.move_on_after(1.0) as flood:
            for _ in range(128):
                await near.send_message(bytes(_MIB))
        assert flood.cancelled_caught, "128 MiB went into a link whose other end takes nothing"


async def a_slow_receiver_gets_everything(open_pair: OpenPair) -> None:
    """Waiting is all that backpressure does. Cancellation: abandons the pair."""

    async def talk(link: MessageLink) -> None:
        await trio.lowlevel.checkpoint()
        for number in range(24):
            await link.send_message(bytes([number]) * _MIB)

    async with open_pair() as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(talk, near)
        for number in range(24):
            await trio.sleep(0.01)
            assert await far.receive_message() == bytes([number]) * _MIB


async def a_cancelled_receive_loses_nothing(open_pair: OpenPair) -> None:
    """Interrupted at every moment there is, also while messages pour in. Cancellation: abandons the pair."""

    async def talk(link: MessageLink) -> None:
        await trio.lowlevel.checkpoint()
        for number in range(100):
            await link.send_message(b"%d" % number)

    async with open_pair() as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(talk, near)
        patience = cycle(range(5))
        for number in range(100):
            message = None
            while message is None:
                message = await _receive_or_give_up(far, next(patience))
            assert message == b"%d" % number


async def _receive_or_give_up(link: MessageLink, checkpoints: int) -> bytes | None:
    got: list[bytes] = []
    await _with_interruption(lambda: _receive_into(got, link), checkpoints=checkpoints)
    return got[0] if got else None


async def _receive_into(got: list[bytes], link: MessageLink) -> None:
    got.append(await link.receive_message())


async def _with_interruption(act: Callable[[], Awaitable[object]], *, checkpoints: int) -> None:
    """Do something, and cancel it after so many turns of the loop if it is not done by then."""
    await trio.lowlevel.checkpoint()
    async with trio.open_nursery() as nursery:

        async def interrupt() -> None:
            await trio.lowlevel.checkpoint()
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

        nursery.start_soon(interrupt)
        await act()


async def closing_ends_the_peer_after_what_was_sent(open_pair: OpenPair) -> None:
    """Nothing that was sent before an orderly end is lost. Cancellation: abandons the pair."""
    async with open_pair() as (near, far):
        async with trio.open_nursery() as nursery:
            await near.send_message(b"first")
            nursery.start_soon(_send_and_close, near, b"last")
            assert await far.receive_message() == b"first"
            assert await far.receive_message() == b"last"
            await _expect(BrokenLinkError, far.receive_message())
        await _expect(BrokenLinkError, far.receive_message())
        await _expect(BrokenLinkError, far.send_message(b"too late"))


async def _send_and_close(link: MessageLink, message: bytes) -> None:
    await link.send_message(message)
    await link.aclose()


async def closing_refuses_what_comes_after(open_pair: OpenPair) -> None:
    """On this side the word is *closed*, and closing twice is fine. Cancellation: abandons the pair."""
    async with open_pair() as (near, _far):
        await near.aclose()
        await _expect(ClosedError, near.send_message(b"x"))
        await _expect(ClosedError, near.receive_message())
        await near.aclose()


async def closing_wakes_this_sides_tasks(open_pair: OpenPair) -> None:
    """A receiver that waits is told that we closed, not that the world broke. Cancellation: abandons."""
    async with open_pair() as (near, _far), trio.open_nursery() as nursery:
        nursery.start_soon(_expect_soon, ClosedError, near.receive_message)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await near.aclose()


async def closing_is_bounded_when_the_peer_takes_nothing(open_pair: OpenPair) -> None:
    """Even with a send stuck in front of the goodbye. Cancellation: abandons the pair."""

    async def flood(link: MessageLink) -> None:
        while True:
            await link.send_message(bytes(_MIB))

    async with open_pair() as (near, _far), trio.open_nursery() as nursery:
        nursery.start_soon(_expect_soon, ClosedError, lambda: flood(near))
        await trio.sleep(0.5)
        began = trio.current_time()
        await near.aclose()
        assert trio.current_time() - began < CLOSE_TIMEOUT_S + _SLACK_S


async def closing_is_shielded(open_pair: OpenPair) -> None:
    """A task that is being cancelled still ends its link in order. Cancellation: abandons the pair."""
    async with open_pair() as (near, far):
        with trio.CancelScope() as scope:
            scope.cancel()
            await near.aclose()
        assert not scope.cancelled_caught, "closing was cut short by a cancel"
        await _expect(ClosedError, near.receive_message())
        await _expect(BrokenLinkError, far.receive_message())


async def closing_a_broken_link_is_quiet(open_pair: OpenPair) -> None:
    """What the peer did is no error of closing. Cancellation: abandons the pair."""
    async with open_pair() as (near, far):
        await near.aclose()
        await _expect(BrokenLinkError, far.receive_message())
        await far.aclose()
        await _expect(ClosedError, far.receive_message())


async def a_message_over_the_limit_breaks_the_link(open_pair: OpenPair) -> None:
    """At the limit it passes; above it, both sides learn. Cancellation: abandons the pair."""
    async with open_pair(max_message_bytes=100_000) as (near, far):
        await near.send_message(bytes(100_000))
        assert len(await far.receive_message()) == 100_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_quietly, near, bytes(100_001))
            await _expect(BrokenLinkError, far.receive_message())
            nursery.start_soon(far.aclose)
            await _expect(BrokenLinkError, near.receive_message())


async def _send_quietly(link: MessageLink, message: bytes) -> None:
    try:
        await link.send_message(message)
    except BrokenLinkError:
        await trio.lowlevel.checkpoint()


async def a_second_sender_is_refused(open_pair: OpenPair) -> None:
    """And the first one is not disturbed. Cancellation: abandons the pair."""

    async def talk(link: MessageLink) -> None:
        await trio.lowlevel.checkpoint()
        for number in range(64):
            await link.send_message(bytes([number]) * _MIB)

    async with open_pair() as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(talk, near)
        await trio.sleep(0.5)  # long enough for the flood to be stuck
        await _expect(trio.BusyResourceError, near.send_message(b"x"))
        for number in range(64):
            assert await far.receive_message() == bytes([number]) * _MIB


async def a_second_receiver_is_refused(open_pair: OpenPair) -> None:
    """And the first one is not disturbed. Cancellation: abandons the pair."""

    async def listen(link: MessageLink) -> None:
        assert await link.receive_message() == b"for the first"

    async with open_pair() as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(listen, far)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await _expect(trio.BusyResourceError, far.receive_message())
        await near.send_message(b"for the first")


async def a_send_that_is_cancelled_half_way_breaks_the_link(open_pair: OpenPair) -> None:
    """No piece of a message is ever presented as a message, on either side. Cancellation: abandons."""
    async with open_pair(max_message_bytes=32 * _MIB) as (near, far):
        await near.send_message(b"before")
        done: list[bool] = []
        await _with_interruption(lambda: _send_and_note(done, near, bytes(20_000_000)), checkpoints=3)
        assert not done, "20 MB went out before the cancel"
        await _expect(BrokenLinkError, near.send_message(b"after"))
        await _expect(BrokenLinkError, near.receive_message())
        assert await far.receive_message() == b"before"
        await _expect(BrokenLinkError, far.receive_message())
        await _expect(BrokenLinkError, far.receive_message())


async def _send_and_note(done: list[bool], link: MessageLink, message: bytes) -> None:
    await link.send_message(message)
    done.append(True)


async def a_cancel_before_the_send_changes_nothing(open_pair: OpenPair) -> None:
    """A scope that was cancelled already stops the send at its door. Cancellation: abandons the pair."""
    async with open_pair() as (near, far):
        with trio.CancelScope() as scope:
            scope.cancel()
            await near.send_message(b"never")
        assert scope.cancelled_caught
        await near.send_message(b"still here")
        assert await far.receive_message() == b"still here"


async def _expect(
    error: type[HermesTrioError | trio.BusyResourceError], awaitable: Awaitable[object]
) -> None:
    try:
        got = await awaitable
    except error:
        await trio.lowlevel.checkpoint()
        return
    raise AssertionError(f"expected {error.__name__}, got {got!r:.80}")


async def _expect_soon(error: type[HermesTrioError], act: Callable[[], Awaitable[object]]) -> None:
    await _expect(error, act())


LINK_CHECKS: tuple[LinkCheck, ...] = (
    messages_arrive_whole_and_in_order,
    every_size_survives,
    a_sender_waits_for_its_receiver,
    a_slow_receiver_gets_everything,
    a_cancelled_receive_loses_nothing,
    closing_ends_the_peer_after_what_was_sent,
    closing_refuses_what_comes_after,
    closing_wakes_this_sides_tasks,
    closing_is_bounded_when_the_peer_takes_nothing,
    closing_is_shielded,
    closing_a_broken_link_is_quiet,
    a_message_over_the_limit_breaks_the_link,
    a_second_sender_is_refused,
    a_second_receiver_is_refused,
    a_send_that_is_cancelled_half_way_breaks_the_link,
    a_cancel_before_the_send_changes_nothing,
)
"""Every check, in the order in which their failures make most sense."""
