"""What is kept of a stream."""

from __future__ import annotations

import pytest

from sandbox_daemon.process.output import BoundedCapture


def feed(capture: BoundedCapture, *pieces: bytes) -> BoundedCapture:
    """All pieces, in order."""
    for piece in pieces:
        capture.feed(memoryview(piece))
    return capture


@pytest.mark.parametrize("pieces", [(b"abc",), (b"a", b"b", b"c"), (b"", b"abc", b"")])
def test_what_fits_is_kept_whole(pieces: tuple[bytes, ...]) -> None:
    """Up to the limit nothing is cut."""
    capture = feed(BoundedCapture(3), *pieces)
    assert (capture.kept(), capture.total, capture.truncated) == (b"abc", 3, False)


def test_head_and_tail_are_kept_of_what_does_not() -> None:
    """The odd byte goes to the tail."""
    capture = feed(BoundedCapture(5), b"0123", b"4567", b"89")
    assert (capture.kept(), capture.total, capture.truncated) == (b"01789", 10, True)


def test_memory_does_not_grow_with_the_stream() -> None:
    """Whatever the size of the pieces."""
    for size in (1, 7, 100, 1000):
        capture = BoundedCapture(100)
        for _ in range(2000):
            capture.feed(memoryview(b"x" * size))
        assert capture.total == 2000 * size
        assert "150 held" in repr(capture) or len(capture._head) + len(capture._tail) <= 150


def test_nothing_is_kept_when_nothing_is_wanted() -> None:
    """The count still is."""
    capture = feed(BoundedCapture(0), b"abc", b"d")
    assert (capture.kept(), capture.total, capture.truncated) == (b"", 4, True)


def test_its_repr_says_what_is_held() -> None:
    """One line."""
    assert repr(feed(BoundedCapture(4), b"abcdefgh")) == "<BoundedCapture 8 bytes seen, 4 held>"
