"""Two streams put together again: by the daemon's own bookkeeping, whatever the pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hermes_trio.tools.streams import Streams
from sandbox_daemon.process.output import BoundedCapture, Order

PIECES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=1, max_size=9)), max_size=60)


def streams_of(pieces: list[tuple[int, bytes]], limit: int) -> Streams:
    """As a daemon keeps them that reads the pieces in this order."""
    captures = {1: BoundedCapture(limit), 2: BoundedCapture(limit)}
    order = Order()
    for stream, data in pieces:
        captures[stream].feed(memoryview(data))
        order.note(stream, len(data))
    return Streams(
        stdout=captures[1].kept(),
        stderr=captures[2].kept(),
        stdout_bytes=captures[1].total,
        stderr_bytes=captures[2].total,
        head_bytes=limit // 2,
        order=order.runs(),
    )


def merged(pieces: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Neighbours of one stream are one piece."""
    result: list[tuple[int, bytes]] = []
    for stream, data in pieces:
        if result and result[-1][0] == stream:
            result[-1] = (stream, result[-1][1] + data)
        else:
            result.append((stream, data))
    return result


@given(PIECES)
def test_what_was_kept_whole_comes_back_as_it_was(pieces: list[tuple[int, bytes]]) -> None:
    """In its order, byte for byte."""
    assert streams_of(pieces, 10_000).interleaved() == merged(pieces)


@given(PIECES, st.integers(0, 40))
def test_of_what_was_cut_every_kept_byte_comes_once(pieces: list[tuple[int, bytes]], limit: int) -> None:
    """And each stream by itself is what was kept of it."""
    streams = streams_of(pieces, limit)
    found = streams.interleaved()
    assert b"".join(data for stream, data in found if stream == 1) == streams.stdout
    assert b"".join(data for stream, data in found if stream == 2) == streams.stderr


@given(st.integers(257, 700), st.integers(1, 3))
def test_of_a_long_alternation_beginning_and_end_are_in_order(turns: int, size: int) -> None:
    """What is between them is in the streams, not in the order."""
    pieces = [(1 + index % 2, bytes([index % 251]) * size) for index in range(turns)]
    found = streams_of(pieces, 10_000).interleaved()
    assert found[:256] == pieces[:256]
    assert found[-256:] == pieces[-256:] or turns <= 512
    assert len(found) == min(turns, 512)
