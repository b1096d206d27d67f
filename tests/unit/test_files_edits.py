"""Replacing a text in a file: exactly, once unless all are meant, and told in words a model can use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_daemon.files.edits import Edited, EditError, replace_text

CODE = b"def f():\n    return 1\n\n\ndef g():\n    return 1\n"


def test_the_only_occurrence_is_replaced() -> None:
    """And its line told."""
    edited = replace_text(CODE, b"def g():\n    return 1", b"def g():\n    return 2", replace_all=False)
    assert edited == Edited(content=CODE[:-2] + b"2\n", replacements=1, first_line=5)


def test_all_occurrences_are_replaced_when_that_is_meant() -> None:
    """However many."""
    edited = replace_text(CODE, b"return 1", b"return 22", replace_all=True)
    assert (edited.content.count(b"return 22"), edited.replacements, edited.first_line) == (2, 2, 2)


@pytest.mark.parametrize(
    ("content", "old", "new", "error"),
    [
        (b"a", b"", b"x", "old_text is empty; to make a file, write it"),
        (b"a", b"a", b"a", "old_text and new_text are the same"),
        (b"a", b"b", b"c", "old_text was not found"),
        (b"a", b"\n", b"c", "old_text was not found"),
        (
            CODE,
            b"return 1",
            b"x",
            "old_text is there 2 times, in lines 2, 6; take more of what is around it, or set replace_all",
        ),
        (
            b"a\na\na\na\n",
            b"a",
            b"x",
            "old_text is there 4 times, in lines 1, 2, 3, ...; take more of what is around it, or set"
            " replace_all",
        ),
        (b"x\r\ny\r\n", b"x\ny", b"z", "old_text was not found; the file's lines end in CR LF"),
        (
            CODE,
            b"def g():\n  return 1",
            b"z",
            "old_text was not found; but for spaces at the ends of its lines it is in line 5",
        ),
        (
            CODE,
            b"def g():\n    return 3",
            b"z",
            "old_text was not found; its first line is in line 5, and what follows there is different",
        ),
    ],
)
def test_what_cannot_be_replaced_is_told(content: bytes, old: bytes, new: bytes, error: str) -> None:
    """With what to do about it."""
    with pytest.raises(EditError) as caught:
        replace_text(content, old, new, replace_all=False)
    assert str(caught.value) == error


@given(
    st.binary(max_size=50), st.binary(min_size=1, max_size=3), st.binary(max_size=3), st.binary(max_size=50)
)
def test_everything_else_stays(before: bytes, old: bytes, new: bytes, after: bytes) -> None:
    """Whatever the bytes are, an edit that is done is a replacement of all or of the one."""
    content = before + old + after
    try:
        edited = replace_text(content, old, new, replace_all=False)
    except EditError:
        assert old == new or content.count(old) > 1
    else:
        assert edited.content == content.replace(old, new, 1)
