"""What a stateful shell is told, and what it may answer."""

from __future__ import annotations

import subprocess

import pytest

from sandbox_daemon.terminal.driver import (
    MAX_ANSWER_BYTES,
    Answer,
    AnswerParser,
    BadAnswerError,
    command_line,
    probe_line,
    set_up_line,
)


@pytest.mark.parametrize(
    "line",
    [set_up_line(1), probe_line(2), *(command_line(3, pair=1, last_status=status) for status in (0, 1, 7))],
)
def test_each_line_is_one_line_that_bash_takes(line: bytes) -> None:
    """The shell reads lines: a second one would be a second command."""
    assert line.count(b"\n") == 1
    subprocess.run(["/bin/bash", "-n"], input=line, check=True)


def test_the_status_before_is_said_without_ending_a_shell_under_set_e() -> None:
    """``false`` would."""
    assert command_line(1, pair=0, last_status=0).startswith(b"\\builtin . ")
    assert command_line(1, pair=0, last_status=1).startswith(b"! : ; ")
    assert command_line(1, pair=0, last_status=42).startswith(b"(\\builtin exit 42) ; ")


def test_answers_are_cut_out_however_they_come() -> None:
    """Whole, in pieces, several at once; a path may hold anything but NUL."""
    said = b"1 0 /workspace\x002 127 /a b\nc\x003 255 \x00"
    parser = AnswerParser()
    bytewise = [answer for byte in said for answer in parser.feed(bytes([byte]))]
    expected = [Answer(1, 0, b"/workspace"), Answer(2, 127, b"/a b\nc"), Answer(3, 255, b"")]
    assert bytewise == AnswerParser().feed(said) == expected


@pytest.mark.parametrize(
    "said",
    [
        b"\0",
        b"1\0",
        b"1 0\0",
        b"x 0 /\0",
        b"1 y /\0",
        b"1 256 /\0",
        b"-1 0 /\0",
        b"1" * 19 + b" 0 /\0",
        b"x" * (MAX_ANSWER_BYTES + 1),
    ],
)
def test_what_no_shell_of_ours_says_is_refused(said: bytes) -> None:
    """Whoever runs in the slot can write to the status pipe."""
    with pytest.raises(BadAnswerError):
        AnswerParser().feed(said)
