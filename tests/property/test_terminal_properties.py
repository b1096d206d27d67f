"""Properties of what is read from a hostile slot."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from sandbox_daemon.terminal.driver import Answer, AnswerParser, BadAnswerError

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
