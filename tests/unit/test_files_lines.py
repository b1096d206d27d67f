"""Lines of a file, found as it goes by in pieces."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from sandbox_daemon.files.lines import LineRange

TEXT = b"one\ntwo\n\nfour"


def scan(content: bytes, piece: int, wanted: LineRange) -> bool:
    """Feed it; whether it went by to its end."""
    return all(wanted.feed(content[start : start + piece]) for start in range(0, len(content), piece))


def test_lines_are_told_with_their_numbers() -> None:
    """First, last, and how many there are if that is known."""
    wanted = LineRange(first=2, last=3, max_bytes=100)
    assert not scan(TEXT, 100, wanted)
    assert (wanted.kept, wanted.last_line, wanted.truncated, wanted.reached) == (b"two\n\n", 3, False, True)
    wanted = LineRange(first=4, last=None, max_bytes=100)
    assert scan(TEXT, 100, wanted)
    assert (wanted.kept, wanted.last_line, wanted.total_lines, wanted.reached) == (b"four", 4, 4, False)
    wanted = LineRange(first=9, last=12, max_bytes=100)
    assert scan(TEXT + b"\n", 100, wanted)
    assert (wanted.kept, wanted.last_line, wanted.total_lines) == (b"", 8, 4)


def test_what_is_too_much_is_cut() -> None:
    """In the middle of a line if need be."""
    wanted = LineRange(first=1, last=None, max_bytes=5)
    assert not scan(TEXT, 100, wanted)
    assert (wanted.kept, wanted.last_line, wanted.truncated) == (b"one\nt", 2, True)


@given(
    st.lists(st.sampled_from([b"a", b"bc", b"\n"]), max_size=30).map(b"".join),
    st.integers(1, 7),
    st.integers(1, 6),
    st.one_of(st.none(), st.integers(0, 6)),
    st.integers(0, 12),
)
@example(b"a\n", 1, 1, 0, 0)
def test_the_pieces_carry_no_meaning(
    content: bytes, piece: int, first: int, more: int | None, max_bytes: int
) -> None:
    """However the file is cut, the lines are those that splitting gives."""
    last = None if more is None else first + more
    wanted = LineRange(first=first, last=last, max_bytes=max_bytes)
    ended = scan(content, piece, wanted)
    lines = content.split(b"\n")
    lines = [line + b"\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]
    meant = b"".join(lines[first - 1 : last])
    assert wanted.kept == meant[:max_bytes]
    assert wanted.truncated == (len(meant) > max_bytes)
    if ended:
        assert wanted.total_lines == len(lines)
    if meant and max_bytes >= len(meant):
        assert wanted.last_line == min(len(lines), last or len(lines))
