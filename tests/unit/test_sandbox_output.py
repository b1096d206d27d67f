"""What is kept of a stream."""

from __future__ import annotations

import pytest

from sandbox_daemon.process.output import BoundedCapture, Order


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


def test_the_digest_is_of_the_whole_stream() -> None:
    """Whatever is kept of it."""
    hashed = feed(BoundedCapture(2, hashed=True), b"a", b"bc")
    assert hashed.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert BoundedCapture(2).sha256 is None


def test_the_order_of_one_stream_is_nothing_to_tell() -> None:
    """However many pieces it came in."""
    order = Order()
    order.note(2, 5)
    order.note(2, 6)
    assert order.runs() == []


def test_pieces_of_one_stream_are_one_run() -> None:
    """Until the other one says something."""
    order = Order()
    for stream, size in [(1, 3), (1, 4), (2, 5), (1, 6), (1, 1)]:
        order.note(stream, size)
    assert order.runs() == [[1, 7], [2, 5], [1, 7]]


@pytest.mark.parametrize("count", [511, 512, 513, 5000])
def test_of_a_long_alternation_the_ends_are_kept(count: int) -> None:
    """In constant memory."""
    order = Order()
    for index in range(count):
        order.note(1 + index % 2, index + 1)
    runs = order.runs()
    assert len(runs) == min(count, 512)
    assert [size for _, size in runs] == [*range(1, 257), *range(max(257, count - 255), count + 1)]
