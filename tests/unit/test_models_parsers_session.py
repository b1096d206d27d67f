"""Streams of text with calls in them: what is told when, what is held back, and how an output ends."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from hermes_trio.errors import ClosedError
from hermes_trio.models.parsers import ParsedCall, Problem, TextDelta, get_parser
from hermes_trio.models.parsers.cursor import Cursor, read_whole

CALL = '<tool_call>{"name": "a"}</tool_call>'


def test_text_is_told_as_it_comes() -> None:
    """Only what may yet be dropped or become a call is held back."""
    session = get_parser("hermes").session()
    assert session.feed("Hello ") == (TextDelta("Hello"),)
    assert session.feed("world <tool") == (TextDelta(" world"),)
    assert session.feed("s> ") == (TextDelta(" <tools>"),)
    assert session.finish() == (TextDelta(" "),)


def test_a_call_is_told_when_it_is_closed() -> None:
    """Not before: what follows may show that it is none."""
    session = get_parser("hermes").session()
    assert session.feed(CALL[:-1]) == ()
    assert session.feed(">") == (ParsedCall("a", {}, raw_text=CALL),)
    assert session.finish() == ()


def test_a_thought_is_told_as_it_comes() -> None:
    """Whoever shows a stream need not wait for its end."""
    session = get_parser("hermes").session()
    assert session.feed("<think>hm") == (TextDelta("<think>hm"),)
    assert session.feed("</thi") == ()
    assert session.feed("nk>") == (TextDelta("</think>"),)


def test_a_broken_call_is_told_where_it_breaks() -> None:
    """With the place, and the text goes on."""
    session = get_parser("hermes").session()
    events = session.feed('So: <tool_call>{"name" 1')
    assert events == (
        TextDelta("So:"),
        Problem(reason="expected :", position=23, start=4, excerpt='<tool_call>{"name" '),
        TextDelta(' <tool_call>{"name" 1'),
    )
    assert str(events[1]) == (
        """tool call not readable: expected : (at character 23, after '<tool_call>{"name" ')"""
    )


def test_the_excerpt_of_a_problem_is_short() -> None:
    """Whatever the call was: it is shown to the model."""
    (problem,) = get_parser("hermes").parse_detailed(CALL[:-13] + ', "x": "' + "x" * 1000).problems
    assert len(problem.excerpt) == 40


def test_an_output_full_of_broken_calls_tells_of_the_first() -> None:
    """The last that is told says that there are more; calls behind them still count."""
    text = "<tool_call>" * 1_000 + CALL
    parsed = get_parser("hermes").parse_detailed(text)
    reasons = [problem.reason for problem in parsed.problems]
    assert reasons == ["expected {"] * 15 + ["expected {; further calls that cannot be read are not told"]
    assert len(parsed.calls) == 1


def test_a_finished_output_takes_no_more_text() -> None:
    """A session reads one; finishing again changes nothing."""
    session = get_parser("hermes").session()
    session.feed("a")
    session.finish()
    assert session.finish() == ()
    with pytest.raises(ClosedError, match="a session reads one"):
        session.feed("b")


def test_a_session_shows_where_it_stands() -> None:
    """In one line."""
    session = get_parser("hermes").session()
    session.feed("abc <tool")
    assert repr(session) == "<ParseSession <Cursor at 4, 5 unread>>"
    session.finish()
    assert repr(session) == "<ParseSession <Cursor at 9, 0 unread, ended>>"


def test_an_empty_output_says_nothing() -> None:
    """Whole or in no pieces."""
    assert get_parser("hermes").session().finish() == ()
    assert get_parser("hermes").parse("") == ("", ())


@pytest.mark.parametrize("depth", [100, 101, 5_000])
@pytest.mark.parametrize(
    ("dialect", "before", "after"),
    [("hermes", '<tool_call>a{"x":', "}"), ("llama_pythonic", "[a(x=", ")]")],
)
def test_values_are_nested_so_deep_and_no_deeper(dialect: str, before: str, after: str, depth: int) -> None:
    """The bound is far below the interpreter's: no text makes it overflow."""
    allowed = 99 if dialect == "hermes" else 100  # the object of the arguments is a level of its own
    _, calls = get_parser(dialect).parse(before + "[" * depth + "]" * depth + after)
    assert bool(calls) == (depth <= allowed)


@pytest.mark.parametrize("digits", [4_300, 4_301, 100_000])
@pytest.mark.parametrize(
    ("dialect", "before", "after"),
    [
        ("hermes", '<tool_call>a{"x":', "}"),
        ("llama_pythonic", "[a(x=", ")]"),
        ("llama_pythonic", "[a(x=0x", ")]"),
    ],
)
def test_integers_too_long_to_print_are_refused(dialect: str, before: str, after: str, digits: int) -> None:
    """The interpreter converts 4,300 digits; hexadecimal ones it reads without a bound, and cannot print."""
    _, calls = get_parser(dialect).parse(before + "1" * digits + after)
    assert bool(calls) == (digits <= 4_300 and "0x" not in before)


@pytest.mark.parametrize("number", ["1e999", "nan", "inf", "1j", "007", "1__0", "0x", "-", ".", "1-1"])
def test_what_python_does_not_read_as_a_finite_number_is_refused(number: str) -> None:
    """Nor what JSON cannot hold."""
    parsed = get_parser("llama_pythonic").parse_detailed(f"[a(x={number})]")
    assert parsed.calls == ()
    assert len(parsed.problems) == 1


def test_a_reader_that_waits_for_more_of_a_whole_text_is_a_mistake() -> None:
    """Of ours: it did not look whether the text has ended."""

    def wait(_cursor: Cursor) -> Generator[None, None, None]:
        yield

    with pytest.raises(AssertionError, match="a reader waits for more"):
        read_whole("", wait)
