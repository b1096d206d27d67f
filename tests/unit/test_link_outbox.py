"""The outbox: fair, ordered, bounded, and free to leave."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hermes_trio.errors import BusyError
from hermes_trio.link.outbox import Outbox
from hermes_trio.wire.session import Session


def named(name: str) -> Callable[[Session], object]:
    """A posting that can be told from others."""

    def write(_session: Session) -> None: ...

    write.__name__ = name
    return write


def drained(outbox: Outbox) -> list[str]:
    """The names of everything that waits, in the order in which it would be sent."""
    names = []
    while posting := outbox.take():
        names.append(posting.write.__name__)
    return names


def test_lanes_take_turns() -> None:
    """A lane with much to say does not hold up its neighbours."""
    outbox = Outbox(max_entries=10)
    for name in ("a1", "a2", "a3", "b1", "c1", "b2"):
        outbox.put(named(name), lane=name[0])
    assert drained(outbox) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_control_goes_first_and_is_not_counted_against_the_bound() -> None:
    """A cancel must not wait behind the calls it is about, nor be refused because of them."""
    outbox = Outbox(max_entries=1)
    outbox.put(named("call"), lane="a")
    outbox.put(named("cancel"))
    assert drained(outbox) == ["cancel", "call"]


def test_a_full_outbox_refuses_and_forgets_nothing() -> None:
    """The bound is an error for the newcomer and nothing for those who wait."""
    outbox = Outbox(max_entries=1)
    outbox.put(named("first"), lane="a")
    with pytest.raises(BusyError, match="1 calls"):
        outbox.put(named("second"), lane="b")
    assert drained(outbox) == ["first"]


def test_withdrawing_leaves_no_trace() -> None:
    """What was withdrawn is neither sent nor counted, and a lane of nothing else ends."""
    outbox = Outbox(max_entries=2)
    gone = outbox.put(named("gone"), lane="a")
    outbox.put(named("stays"), lane="b")
    assert outbox.withdraw(gone)
    assert not outbox.withdraw(gone)
    assert len(outbox) == 1
    outbox.put(named("later"), lane="a")
    assert drained(outbox) == ["stays", "later"]  # its turn went with it
    assert repr(outbox) == "<Outbox 0/2 waiting in 0 lanes>"


def test_what_was_taken_cannot_be_withdrawn() -> None:
    """False tells the poster that it was, or is about to be, sent."""
    outbox = Outbox(max_entries=2)
    posting = outbox.put(named("sent"), lane="a")
    assert outbox.take() is posting
    assert not outbox.withdraw(posting)
    assert outbox.take() is None


def test_withdrawing_one_leaves_its_lane_to_the_others() -> None:
    """The others of the lane keep their order, and the lane its turn."""
    outbox = Outbox(max_entries=4)
    outbox.put(named("a1"), lane="a")
    gone = outbox.put(named("a2"), lane="a")
    outbox.put(named("a3"), lane="a")
    outbox.put(named("b1"), lane="b")
    assert outbox.withdraw(gone)
    assert drained(outbox) == ["a1", "b1", "a3"]
