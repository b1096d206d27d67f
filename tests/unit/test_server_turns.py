"""The turnstile: one call in a slot at a time, in the order of their frames."""

from __future__ import annotations

from hermes_trio.wire.frames import SlotId
from sandbox_daemon.server.turns import Turnstile

A, B = SlotId("a"), SlotId("b")


def test_turns_come_in_order_and_slots_do_not_wait_for_each_other() -> None:
    """The second of a slot waits for the first; another slot's first does not."""
    turnstile = Turnstile()
    first, second, other = turnstile.enter(A), turnstile.enter(A), turnstile.enter(B)
    assert (first.is_now, second.is_now, other.is_now) == (True, False, True)
    assert repr(turnstile) == "<Turnstile 2 slots in use, 1 calls waiting>"
    turnstile.leave(first)
    assert second.is_now


def test_leaving_while_waiting_lets_nobody_in_early() -> None:
    """A waiter that gives up must not wake the one behind it while the first still runs."""
    turnstile = Turnstile()
    first, second, third = (turnstile.enter(A) for _ in range(3))
    turnstile.leave(second)
    assert not third.is_now
    turnstile.leave(first)
    assert third.is_now
    turnstile.leave(third)
    assert repr(turnstile) == "<Turnstile 0 slots in use, 0 calls waiting>"


async def test_wait_now_returns_when_the_turn_has_begun() -> None:
    """Waiting for a turn that has come does not block."""
    turn = Turnstile().enter(A)
    await turn.wait_now()


def test_those_who_share_have_their_turn_together() -> None:
    """As long as nobody who does not is between them."""
    turnstile = Turnstile()
    first, second = (turnstile.enter(A, shared=True) for _ in range(2))
    alone = turnstile.enter(A)
    third, fourth = (turnstile.enter(A, shared=True) for _ in range(2))
    assert [turn.is_now for turn in (first, second, alone, third)] == [True, True, False, False]
    assert repr(turnstile) == "<Turnstile 1 slots in use, 3 calls waiting>"
    turnstile.leave(first)
    assert not alone.is_now
    turnstile.leave(second)
    assert (alone.is_now, third.is_now) == (True, False)
    turnstile.leave(alone)
    assert (third.is_now, fourth.is_now) == (True, True)


def test_one_who_gives_up_between_them_joins_them() -> None:
    """Then nobody is between them."""
    turnstile = Turnstile()
    first = turnstile.enter(A, shared=True)
    alone, last = turnstile.enter(A), turnstile.enter(A, shared=True)
    turnstile.leave(alone)
    assert (first.is_now, last.is_now) == (True, True)
