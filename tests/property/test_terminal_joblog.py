"""The log of a job: bounded, and honest about what it no more has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sandbox_daemon.terminal.joblog import JobLog

PIECES = st.lists(st.binary(max_size=40), max_size=30)
SIZES = st.integers(min_value=1, max_value=30)


def filled(pieces: list[bytes], head: int, tail: int) -> tuple[JobLog, bytes]:
    """A log that was fed these, and all of it."""
    log = JobLog(head=head, tail=tail)
    for piece in pieces:
        log.feed(memoryview(piece))
    return log, b"".join(pieces)


@given(pieces=PIECES, head=SIZES, tail=SIZES, offset=st.integers(0, 1500), most=st.integers(1, 60))
def test_a_piece_is_what_was_printed_there(pieces, head, tail, offset, most) -> None:
    """From the offset that is told, never before the one that was asked for, and of one piece."""
    log, whole = filled(pieces, head, tail)
    first, piece = log.read(offset, most)
    assert piece == whole[first : first + len(piece)]
    assert len(piece) <= most
    assert first == offset or log.lost_bytes or offset > len(whole)
    if offset < len(whole):
        assert first >= offset
        assert piece or log.lost_bytes


@given(pieces=PIECES, head=SIZES, tail=SIZES, most=st.integers(1, 60))
def test_whoever_reads_on_gets_all_that_is_kept(pieces, head, tail, most) -> None:
    """What is missing lies in one gap behind the head, as large as the log says."""
    log, whole = filled(pieces, head, tail)
    offset, got, gap = 0, b"", 0
    while True:
        first, piece = log.read(offset, most)
        if not piece:
            break
        gap += first - offset
        got += piece
        offset = first + len(piece)
    assert log.end == len(whole)
    kept_head = min(head, len(whole))
    assert got == whole[:kept_head] + whole[kept_head + log.lost_bytes :]
    assert gap in (log.lost_bytes, 0)  # 0: nothing is kept behind it


@given(pieces=PIECES, head=SIZES, tail=SIZES)
def test_it_is_bounded_and_keeps_the_end(pieces, head, tail) -> None:
    """At least the last bytes, at most twice as many."""
    log, whole = filled(pieces, head, tail)
    behind = max(0, len(whole) - head)
    assert behind - log.lost_bytes <= 2 * tail
    assert behind - log.lost_bytes >= min(tail, behind)
    assert repr(log) == f"<JobLog of {len(whole)} bytes, {log.lost_bytes} lost>"
