"""The program's boundary: verbs, one-line usage errors, and errors as exit codes."""

from __future__ import annotations

import sys

import pytest

from hermes_trio import cli
from hermes_trio.errors import BrokenLinkError, InvalidInputError, TooSlowError, UnavailableError


def _main(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    return caught.value.code, *capsys.readouterr()


def test_the_version_is_printed(capsys):
    """Of the installed package."""
    code, out, _ = _main(capsys, "--version")
    assert code == 0
    assert out.startswith("hermes-trio ")


def test_help_lists_the_verbs_with_a_line_each(capsys):
    """And nothing that is not there."""
    code, out, _ = _main(capsys, "--help")
    assert code == 0
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("    ") and line[4] != " "]
    assert listed == list(cli.VERBS)


@pytest.mark.parametrize("verb", list(cli.VERBS))
def test_every_verb_explains_itself(capsys, verb):
    """Each is loaded when it is asked for."""
    code, out, _ = _main(capsys, verb, "--help")
    assert code == 0
    assert out.startswith(f"usage: hermes-trio {verb}")


@pytest.mark.parametrize("verb", ["console", "top", "ls", "logs", "attach", "cancel", "drain"])
def test_what_steers_a_server_is_taught_by_examples(capsys, verb):
    """And what its exit codes mean; no line is too wide for a terminal."""
    _, out, _ = _main(capsys, verb, "--help")
    examples = out.partition("examples:\n")[2]
    assert f"  hermes-trio {verb}" in examples
    assert "exit codes:\n  2 " in examples
    assert "--json" in out
    assert max(map(len, out.splitlines())) <= 110


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "the following arguments are required: VERB"),
        (("fly",), "argument VERB: invalid choice: 'fly'"),
        (("run", "--fly"), "unrecognized arguments: --fly"),
        (("run", "--slots", "0"), "argument --slots: must be a whole number from 1 to 1000000, not '0'"),
        (("run", "--slots", "x"), "argument --slots: must be a whole number from 1 to 1000000, not 'x'"),
        (("run", "--slot", "1"), "unrecognized arguments: --slot"),
        (("run", "--model", "u", "--scripted", "erring"), "not allowed with argument --model"),
        (("logs", "--count", "0"), "argument --count: must be a whole number from 1 to 1000000, not '0'"),
        (("cancel",), "one of the arguments trajectory --call is required"),
        (("run", "--isolation", "some"), "argument --isolation: invalid choice: 'some'"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(capsys, words, told):
    """No usage text above it."""
    code, out, err = _main(capsys, *words)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


def _told(monkeypatch, error):
    def verb(_argv):
        raise error

    monkeypatch.setattr(cli, "_run_verb", verb)
    return cli.main([])


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (InvalidInputError("bad", source="f", line=3, field="x"), 2, "hermes-trio: f:3: field 'x': bad\n"),
        (UnavailableError("No bwrap.", mend="Install it."), 3, "hermes-trio: No bwrap. Install it.\n"),
        (TooSlowError("late"), 3, "hermes-trio: late\n"),
        (BrokenLinkError("two\nlines"), 3, "hermes-trio: two lines\n"),
        (KeyboardInterrupt(), 130, ""),
        (
            ExceptionGroup("", [UnavailableError("a"), ExceptionGroup("", [UnavailableError("a")])]),
            3,
            "hermes-trio: a\n",
        ),
        (
            ExceptionGroup("", [UnavailableError("a"), InvalidInputError("b")]),
            2,
            "hermes-trio: a\nhermes-trio: b\n",
        ),
        (BaseExceptionGroup("", [KeyboardInterrupt(), UnavailableError("a")]), 130, ""),
    ],
    ids=repr,
)
def test_errors_become_a_line_each_and_an_exit_code(monkeypatch, capsys, error, code, text):
    """Groups are unwrapped; what is in one twice is said once."""
    assert _told(monkeypatch, error) == code
    assert capsys.readouterr().err == text


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("x"), ExceptionGroup("", [UnavailableError("a"), KeyError("b")])], ids=repr
)
def test_a_bug_keeps_its_traceback(monkeypatch, error):
    """Nobody could mend it from one line."""
    with pytest.raises(type(error)):
        _told(monkeypatch, error)


def test_a_standard_output_that_was_closed_is_no_traceback(monkeypatch):
    """``hermes-trio run >&-``: Python has no stdout at all then."""
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr(cli, "_run_verb", lambda argv: 0)
    assert cli.main(["doctor"]) == 0
    sys.stdout.close()
