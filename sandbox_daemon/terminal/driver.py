"""PURE: how a stateful shell is told what to do, and what it answers.

The shell is ``bash -i`` without a terminal. Its standard input is the driver's pipe, on which one line comes
for each command; the command itself lies in a memory file, and the line has it sourced. Behind it the line
has the status and ``$PWD`` written to a descriptor of their own. So no text of ours is ever mixed with the
command's or its output, and the parser sees the command whole: an open quote ends with the file.

Why interactive: an interrupt brings such a shell back to its next line with all its state, and an error of
expansion (``set -u``) costs the rest of the command, not the session. Why sourced: within a sourced file bash
does not announce background jobs and names itself in messages as ``bash -c`` does. The shell's own standard
output and error are ``/dev/null``; what it says between two commands, prompts that the user set included,
goes there.

Source: bash 5.2, ``builtins/evalfile.c`` (FEVAL_NONINT), ``sig.c`` (throw_to_top_level).
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from sandbox_daemon.agent.protocol import FIRST_EXTRA_FD

COMMAND_FD: Final = FIRST_EXTRA_FD
STATUS_FD: Final = FIRST_EXTRA_FD + 1
FIRST_OUTPUT_FD: Final = FIRST_EXTRA_FD + 2
OUTPUT_PAIRS: Final = 4
"""Pipes for output: as long as something in the background holds one pair, the next command gets another."""

ARGV: Final = (b"/bin/bash", b"bash", b"--norc", b"--noprofile", b"--noediting", b"-i")

MAX_ANSWER_BYTES: Final = 16 * 1024
"""A path is at most 4 KiB."""

_STATUS: Final = f'\\builtin printf \'%d %d %s\\0\' {{number}} "$?" "${{{{PWD-}}}}" >&{STATUS_FD}\n'
_SET_UP: Final = "\\builtin unset -v HISTFILE; \\builtin set +o history +H; \\builtin shopt -u checkwinsize; "
_CLOSED: Final = "".join(f" {fd}>&-" for fd in range(STATUS_FD, FIRST_OUTPUT_FD + 2 * OUTPUT_PAIRS))


def set_up_line(number: int) -> bytes:
    """The first line."""
    return (_SET_UP + _STATUS.format(number=number)).encode()


def command_line(number: int, *, pair: int, last_status: int) -> bytes:
    """Runs what lies in the memory file.

    Args:
        number: comes back with the answer.
        pair: which pipes take the output.
        last_status: what ``$?`` is to be at first: that of the command before.
    """
    out = FIRST_OUTPUT_FD + 2 * pair
    streams = f"</dev/null >&{out} 2>&{out + 1}"
    source = f"\\builtin . /proc/self/fd/{COMMAND_FD} {streams}{_CLOSED}; "
    return (_status_of(last_status) + source + _STATUS.format(number=number)).encode()


def probe_line(number: int) -> bytes:
    """Only answers: whoever interrupted the shell learns that it is back."""
    return _STATUS.format(number=number).encode()


def _status_of(status: int) -> str:
    """``! :`` rather than ``false``, which would end a shell under ``set -e``."""
    if status == 0:
        return ""
    return "! : ; " if status == 1 else f"(\\builtin exit {status}) ; "


@frozen
class Answer:
    """What the shell said: to which line, the status, and its directory."""

    number: int
    status: int
    cwd: bytes


class BadAnswerError(Exception):
    """No shell of ours says so. Whoever runs in the slot can write to any descriptor there."""


class AnswerParser:
    """Cuts answers out of what comes."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> list[Answer]:
        """The answers that are whole now. ``BadAnswerError`` for anything else."""
        *whole, self._pending = (self._pending + data).split(b"\0")
        if len(self._pending) > MAX_ANSWER_BYTES:
            raise BadAnswerError("an answer without end")
        return [_parsed(text) for text in whole]


def _parsed(text: bytes) -> Answer:
    number, _, rest = text.partition(b" ")
    status, space, cwd = rest.partition(b" ")
    if not (space and _is_count(number) and _is_count(status) and int(status) < 256):
        raise BadAnswerError("not an answer")
    return Answer(int(number), int(status), cwd)


def _is_count(text: bytes) -> bool:
    return text.isdigit() and len(text) <= 18
