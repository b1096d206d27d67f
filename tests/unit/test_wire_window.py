"""The resend window and its counterpart: bounds, cumulative acknowledgement, resending in order."""

from __future__ import annotations

import pytest

from hermes_trio.errors import RemoteProtocolError
from hermes_trio.wire.credit import Allowance
from hermes_trio.wire.frames import CallId
from hermes_trio.wire.window import ReceiveWindow, SendWindow


def filled(count: int, *, max_frames: int = 9) -> SendWindow:
    """A window with frames b"1", b"2", ..."""
    window = SendWindow(max_frames=max_frames, max_bytes=100)
    for number in range(1, count + 1):
        window.push(b"%d" % number, answers=CallId(number) if number % 2 else None)
    return window


def take_all(window: SendWindow) -> bytes:
    """Everything that waits."""
    return b"".join(window.take() for _ in iter(lambda: window.has_waiting, False))


def test_frames_are_handed_out_once_per_link_and_in_order() -> None:
    """Until the window is rewound nothing is handed out twice."""
    window = filled(3)
    assert (window.next_size, window.take(), window.take()) == (1, b"1", b"2")
    assert window.has_waiting
    assert (window.take(), window.next_size, window.handed_out) == (b"3", 0, 3)
    assert not window.has_waiting


def test_acknowledgement_is_cumulative_and_names_the_results() -> None:
    """Everything up to the number is forgotten at once."""
    window = filled(5)
    take_all(window)
    assert window.acknowledge(3) == [1, 3]
    assert (window.frames, window.held_bytes, window.acknowledged, window.last) == (2, 2, 3, 5)
    assert window.acknowledge(3) == []


@pytest.mark.parametrize("received", [0, 3, 99])
def test_an_acknowledgement_of_what_was_not_sent_or_was_forgotten_is_refused(received: int) -> None:
    """Frames that only wait cannot have arrived; numbers never fall."""
    window = filled(3)
    window.take()
    window.take()
    window.acknowledge(1)
    with pytest.raises(RemoteProtocolError, match="which is not between 1 and 2"):
        window.acknowledge(received)


def test_a_new_link_begins_with_the_oldest_frame_held() -> None:
    """In order, before anything new, and what the peer had after all can still be acknowledged."""
    window = filled(4)
    for _ in range(3):
        window.take()
    window.acknowledge(1)
    window.rewind()
    assert window.handed_out == 3
    assert window.take() == b"2"
    window.rewind()
    assert window.acknowledge(3) == [3]
    assert take_all(window) == b"4"
    assert window.handed_out == 4


def test_bounds_in_frames_and_bytes_are_both_kept() -> None:
    """A frame fits when both allow it."""
    assert not filled(9).fits(1)
    window = SendWindow(max_frames=9, max_bytes=10)
    window.push(b"x" * 6)
    assert window.fits(4)
    assert not window.fits(5)


def test_a_travelling_frame_can_be_looked_up_by_its_number() -> None:
    """Only while it is held and was handed to this link."""
    window = filled(4)
    for _ in range(3):
        window.take()
    window.acknowledge(1)
    assert [window.travelling(number) for number in range(6)] == [None, None, b"2", b"3", None, None]


def test_a_receiver_takes_each_number_once_and_misses_none() -> None:
    """Duplicates are dropped, a gap is a violation."""
    inbox = ReceiveWindow(ack_frames=10, ack_bytes=100)
    assert [inbox.take(number) for number in (1, 1, 2, 1, 2, 3)] == [True, False, True, False, False, True]
    with pytest.raises(RemoteProtocolError, match="frame 5 where 4 is next"):
        inbox.take(5)
    assert inbox.received == 3


@pytest.mark.parametrize(
    ("frames", "size", "due"), [(1, 1, False), (2, 1, True), (1, 10, True), (0, 10, False)]
)
def test_an_acknowledgement_is_due_after_so_many_frames_or_bytes(frames: int, size: int, due: bool) -> None:
    """And never when there is nothing new to acknowledge."""
    inbox = ReceiveWindow(ack_frames=2, ack_bytes=10)
    for number in range(1, frames + 1):
        inbox.take(number)
    inbox.count(size)
    assert inbox.due is due
    inbox.offer()
    assert inbox.due is (frames > 0)
    assert inbox.tell() == frames
    inbox.offer()
    assert not inbox.due


def test_an_allowance_counts_from_the_beginning_of_the_stream() -> None:
    """Absolute limits: said twice they mean the same."""
    allowance = Allowance(limit=10, used=4)
    assert allowance.left == 6
    assert allowance.objection_to(4, 6) == ""
    assert allowance.objection_to(4, 7) == "7 bytes where the credit has 6 left"
    assert allowance.objection_to(5, 1) == "offset 5 where 4 is next"
