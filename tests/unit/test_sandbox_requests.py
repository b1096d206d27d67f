"""What a call asks of a slot, checked before the slot hears of it."""

from __future__ import annotations

import errno

import pytest

from hermes_trio.errors import Provenance
from hermes_trio.wire.operations import BashArguments
from sandbox_daemon.agent import protocol
from sandbox_daemon.process.command import MAX_COMMAND_BYTES
from sandbox_daemon.slots.requests import (
    MAX_FILE_BYTES,
    BadRequestError,
    check_limit,
    check_max_bytes,
    command_spec,
    file_failure,
    path_bytes,
)


def test_a_good_command_is_taken_as_it_is() -> None:
    """Text becomes bytes."""
    arguments = BashArguments(command="echo ü", cwd="a", environment={"A": "b=c"}, shell="sh")
    spec = command_spec(arguments, b"in")
    assert (spec.command, spec.cwd, spec.shell, spec.stdin) == ("echo ü".encode(), b"a", b"sh", b"in")
    assert protocol.unpack_environment(spec.environment) == {b"A": b"b=c"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"command": "a\0b"}, "'command': holds a NUL"),
        ({"command": "x" * (MAX_COMMAND_BYTES + 1)}, "'command': more than"),
        ({"command": "\ud800"}, "'command': is not text"),
        ({"command": "", "shell": "zsh"}, "'shell'"),
        ({"command": "", "max_output_bytes": -1}, "'max_output_bytes'"),
        ({"command": "", "max_output_bytes": 1 << 21}, "'max_output_bytes'"),
        ({"command": "", "cwd": ""}, "'cwd': is empty"),
        ({"command": "", "environment": {"": "x"}}, "'environment'"),
        ({"command": "", "environment": {"A": "\0"}}, "'environment'"),
        ({"command": "", "environment": {"A\0": ""}}, "'environment'"),
        ({"command": "", "environment": {"A": "\ud800"}}, "'environment': is not text"),
        ({"command": "", "environment": {"A": "x" * 40_000}}, "'environment': more than"),
    ],
)
def test_a_bad_command_names_its_field(arguments: dict[str, object], words: str) -> None:
    """As an invalid request."""
    with pytest.raises(BadRequestError) as caught:
        command_spec(BashArguments(**arguments), b"")
    assert words in caught.value.outcome.error
    assert caught.value.outcome.provenance is Provenance.INVALID_REQUEST


@pytest.mark.parametrize(
    ("path", "words"), [("", "empty"), ("a\0", "NUL"), ("x" * 4097, "4096"), ("\ud800", "not text")]
)
def test_a_bad_path_is_refused(path: str, words: str) -> None:
    """Before the slot hears of it."""
    with pytest.raises(BadRequestError, match=words):
        path_bytes(path, operation="read_file")


def test_a_path_is_bytes() -> None:
    """Surrogates stand for what is not UTF-8."""
    assert path_bytes("a/\udcff", operation="read_file") == b"a/\xff"


@pytest.mark.parametrize("limit_s", [0, -1.0, float("nan"), float("inf"), 1e308])
def test_what_is_no_time_to_run_in_is_refused(limit_s: float) -> None:
    """Also what JSON cannot say."""
    check_limit(0.001)
    check_limit(600)
    with pytest.raises(BadRequestError, match="limit_s"):
        check_limit(limit_s)


@pytest.mark.parametrize("max_bytes", [-1, MAX_FILE_BYTES + 1])
def test_a_bound_nobody_can_keep_is_refused(max_bytes: int) -> None:
    """A frame is at most 4 MiB."""
    check_max_bytes(0, operation="read_file")
    check_max_bytes(MAX_FILE_BYTES, operation="read_file")
    with pytest.raises(BadRequestError, match="max_bytes"):
        check_max_bytes(max_bytes, operation="read_file")


@pytest.mark.parametrize(
    ("fixed", "provenance", "error"),
    [
        ((protocol.REASON_DENIED, 0, 0), Provenance.DENIED, "Access denied: path outside workspace"),
        ((protocol.REASON_NOT_FOUND, 0, 0), Provenance.TOOL_ERROR, "File not found: p"),
        ((protocol.REASON_NOT_REGULAR, 0, 0), Provenance.TOOL_ERROR, "Not a file: p"),
        ((protocol.REASON_TOO_LARGE, 0, 11), Provenance.TOOL_ERROR, "File too large: 11 bytes (max 10)"),
        ((protocol.REASON_OS, errno.ENOSPC, 0), Provenance.TOOL_ERROR, "No space left on device: p"),
    ],
)
def test_every_failure_of_a_file_has_its_words(
    fixed: tuple[int, int, int], provenance: Provenance, error: str
) -> None:
    """The ancestor's where it had them."""
    outcome = file_failure(fixed, path="p", max_bytes=10)
    assert (outcome.provenance, outcome.error) == (provenance, error)


def test_an_error_stays_on_one_line_whatever_the_path() -> None:
    """And is text that JSON can hold."""
    outcome = file_failure((protocol.REASON_NOT_FOUND, 0, 0), path="a\nb\udcff", max_bytes=1)
    assert outcome.error == "File not found: a\\nb\\udcff"


@pytest.mark.parametrize("silence_s", [0.0, -1.0, float("nan"), 1e9])
def test_a_silence_that_is_no_time_names_its_field(silence_s: float) -> None:
    """Like every other bound."""
    with pytest.raises(BadRequestError, match="field 'no_output_limit_s'"):
        command_spec(BashArguments(command="true", no_output_limit_s=silence_s), b"")
