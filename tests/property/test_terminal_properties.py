"""Properties of what is read from a hostile slot."""

from __future__ import annotations

import contextlib

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sandbox_daemon.terminal.driver import Answer, AnswerParser, BadAnswerError
from sandbox_daemon.terminal.keys import encode_keys
from sandbox_daemon.terminal.ring import ByteRing
from sandbox_daemon.terminal.screen import Emulator

_ANSWERS = st.builds(
    Answer,
    st.integers(0, 10**18 - 1),
    st.integers(0, 255),
    st.binary(max_size=50).filter(lambda cwd: b"\0" not in cwd),
)


@given(st.lists(_ANSWERS, max_size=5), st.lists(st.integers(0, 200), max_size=5))
def test_answers_survive_any_cuts(answers: list[Answer], cuts: list[int]) -> None:
    """Chunking changes nothing."""
    said = b"".join(b"%d %d %s\0" % (each.number, each.status, each.cwd) for each in answers)
    parser, heard, start = AnswerParser(), [], 0
    for cut in [*sorted(min(cut, len(said)) for cut in cuts), len(said)]:
        heard += parser.feed(said[start:cut])
        start = cut
    assert heard == answers


@given(st.binary(max_size=200))
def test_any_bytes_are_answers_or_refused(data: bytes) -> None:
    """Nothing else is raised."""
    with contextlib.suppress(BadAnswerError):
        AnswerParser().feed(data)


@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(1, 40), st.integers(0, 700))
def test_a_ring_answers_as_the_whole_stream_would(pieces: list[bytes], limit: int, offset: int) -> None:
    """What it says is there is what was there, and the last ``limit`` bytes always are."""
    ring, whole = ByteRing(limit), b""
    for piece in pieces:
        ring.feed(piece)
        whole += piece
    begin, data = ring.read(offset, 1000)
    assert data == whole[begin:]
    assert begin <= max(offset, len(whole) - limit, 0)
    assert len(whole) - ring.start >= min(limit, len(whole))


@given(st.lists(st.text(max_size=8), max_size=5), st.booleans())
def test_any_words_are_keys(words: list[str], application: bool) -> None:
    """A model may press anything."""
    assert isinstance(encode_keys(words, application=application), bytes)


_HOSTILE = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from(
            [
                b"\x1b[",
                b"\x1b]",
                b"\x1bP",
                b"\x1b[?1049h",
                b"\x1b[?1049l",
                b"\x1b[99999L",
                b"\x1b[0;0r",
                b"\x07",
            ]
        ),
        st.builds(
            lambda n, m, c: b"\x1b[%d;%d%c" % (n, m, c),
            st.integers(0, 10**6),
            st.integers(0, 300),
            st.integers(64, 126),
        ),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(_HOSTILE)
@example([b"\x1b]", b"\x1b]"])
def test_a_screen_survives_any_bytes_and_keeps_its_size(pieces: list[bytes]) -> None:
    """Nothing is raised, whatever a program draws; afterwards it still shows what is printed."""
    emulator = Emulator(columns=20, rows=6)
    for piece in pieces:
        assert len(emulator.feed(piece)) <= 64 * 16
    emulator.feed(b"\x1b\\\x07\x1bc\x1b[2J\x1b[HOK")
    shot = emulator.shot(scrollback_lines=5)
    assert len(shot.lines) == 6
    assert len(shot.scrollback) <= 5
    assert shot.lines[0].startswith("OK")
