"""What every parser of tool calls keeps to, as checks for authors of dialects.

Give a parser and examples of its dialect; each check raises ``AssertionError`` when a promise is broken::

    @pytest.mark.parametrize("check", PARSER_CHECKS, ids=lambda check: check.__name__)
    def test_my_dialect(check):
        check(ParserUnderTest(parser=my_parser, examples=[Example(text="<call>a</call>", calls=[("a", {})])]))
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FrameType
from typing import Any, Protocol

from attrs import frozen

from hermes_trio.errors import ClosedError
from hermes_trio.models.parsers import Event, ParsedCall, ParsedText, Problem, TextDelta


class Session(Protocol):
    """:class:`hermes_trio.models.parsers.ParseSession` is one."""

    def feed(self, text: str) -> tuple[Event, ...]:
        """More of the output."""
        ...

    def finish(self) -> tuple[Event, ...]:
        """The output ends here."""
        ...


class Parser(Protocol):
    """:class:`hermes_trio.models.parsers.ToolCallParser` is one."""

    def parse_detailed(self, text: str, *, in_thought: bool = False) -> ParsedText:
        """A whole text."""
        ...

    def session(self, *, in_thought: bool = False) -> Session:
        """A text in pieces."""
        ...


@frozen(kw_only=True)
class Example:
    """A text, and what is in it.

    Args:
        text: as a model writes it.
        calls: names and arguments, in order.
        content: what is said beside the calls; ``None``: nothing.
        is_sound: there is nothing wrong with it, so that its beginning has no call that it does not have.
        in_thought: the prompt has opened the thought.
    """

    text: str
    calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
    content: str | None = None
    is_sound: bool = True
    in_thought: bool = False


@frozen(kw_only=True)
class ParserUnderTest:
    """A parser, and examples of what it reads: at least one with a call."""

    parser: Parser
    examples: Sequence[Example]

    def whole(self, example: Example) -> ParsedText:
        """An example, read at once."""
        return self.parser.parse_detailed(example.text, in_thought=example.in_thought)

    def in_pieces(self, example: Example, pieces: Iterable[str]) -> ParsedText:
        """An example, read as it arrives."""
        session = self.parser.session(in_thought=example.in_thought)
        return _summed([*(event for piece in pieces for event in session.feed(piece)), *session.finish()])


ParserCheck = Callable[[ParserUnderTest], None]

TRIES = 200
_SIZE = 1_200


def _summed(events: Sequence[Event]) -> ParsedText:
    calls = tuple(event for event in events if isinstance(event, ParsedCall))
    content = "".join(event.text for event in events if isinstance(event, TextDelta))
    problems = tuple(event for event in events if isinstance(event, Problem))
    return ParsedText(content=None if calls and not content else content, calls=calls, problems=problems)


def _calls(parsed: ParsedText) -> list[tuple[str, Mapping[str, Any]]]:
    return [(call.name, call.arguments) for call in parsed.calls]


def examples_are_read_as_they_say(subject: ParserUnderTest) -> None:
    """Calls and content."""
    assert any(example.calls for example in subject.examples)
    for example in subject.examples:
        parsed = subject.whole(example)
        assert _calls(parsed) == list(example.calls), example.text
        assert parsed.content == example.content, example.text


def a_text_cut_anywhere_is_read_like_the_whole(subject: ParserUnderTest) -> None:
    """In two pieces at every character, and in as many pieces as there are characters."""
    for example in subject.examples:
        whole, text = subject.whole(example), example.text
        for cut in range(len(text) + 1):
            assert subject.in_pieces(example, (text[:cut], text[cut:])) == whole, (cut, text)
        assert subject.in_pieces(example, text) == whole, text


def a_text_that_ends_anywhere_has_no_other_call(subject: ParserUnderTest) -> None:
    """Generation may end at any character: what is missing neither changes a call nor makes one."""
    for example in (example for example in subject.examples if example.is_sound):
        calls = _calls(subject.whole(example))
        for end in range(len(example.text)):
            begun = subject.parser.parse_detailed(example.text[:end], in_thought=example.in_thought)
            assert _calls(begun) == calls[: len(begun.calls)], (end, example.text)


def _mixtures(subject: ParserUnderTest) -> Iterable[str]:
    """Pieces of the examples in any order, the same ones each time."""
    dice = random.Random(2026)  # noqa: S311 - no secret
    texts = [example.text for example in subject.examples]
    for _ in range(TRIES):
        pieces = []
        for _ in range(dice.randrange(1, 6)):
            text = dice.choice(texts)
            start, end = sorted(dice.randrange(len(text) + 1) for _ in range(2))
            pieces.append(text[start:end])
        yield "".join(pieces)


def nothing_that_a_model_writes_raises(subject: ParserUnderTest) -> None:
    """Without a call the text comes back as it was; raw texts are parts of it, problems lie in it."""
    for text in _mixtures(subject):
        parsed = subject.parser.parse_detailed(text)
        assert parsed.calls or parsed.content == text, text
        assert all(call.name and call.raw_text in text for call in parsed.calls), text
        assert all(0 <= problem.start <= problem.position <= len(text) for problem in parsed.problems), text


def arguments_can_be_written_as_json(subject: ParserUnderTest) -> None:
    """In UTF-8, without what only Python reads back."""
    for text in _mixtures(subject):
        for call in subject.parser.parse_detailed(text).calls:
            assert isinstance(call.arguments, Mapping), text
            json.dumps(call.arguments, ensure_ascii=False, allow_nan=False).encode()


def texts_do_not_meet(subject: ParserUnderTest) -> None:
    """Two that arrive in turns are read as if each were alone."""
    for one, other in zip(subject.examples, subject.examples[1:], strict=False):
        sessions = [subject.parser.session(in_thought=each.in_thought) for each in (one, other)]
        events: list[list[Event]] = [[], []]
        for at in range(max(len(one.text), len(other.text))):
            for mine, session, text in zip(events, sessions, (one.text, other.text), strict=True):
                mine += session.feed(text[at : at + 1])
        for mine, session, each in zip(events, sessions, (one, other), strict=True):
            assert _summed([*mine, *session.finish()]) == subject.whole(each)


def a_session_reads_one_text(subject: ParserUnderTest) -> None:
    """Once it has ended nothing more comes of it, and nothing more is taken."""
    session = subject.parser.session()
    session.feed(subject.examples[0].text)
    session.finish()
    assert session.finish() == ()
    refused = False
    try:
        session.feed("more")
    except ClosedError:
        refused = True
    assert refused


def steps_grow_with_the_text(subject: ParserUnderTest) -> None:
    """Twice the text takes about twice the steps, whatever is repeated and however it is cut. Counted."""
    for example in subject.examples:
        if not example.text:
            continue
        once, twice = (example.text * (1 + size // len(example.text)) for size in (_SIZE, 2 * _SIZE))
        subject.in_pieces(example, _fives(once))  # compiles the patterns
        for cut in (_whole, _fives):
            few, many = (_steps(subject, example, cut(text)) for text in (once, twice))
            assert many <= 2.2 * few + 200, (few, many, example.text)


def _whole(text: str) -> list[str]:
    return [text]


def _fives(text: str) -> list[str]:
    return [text[start : start + 5] for start in range(0, len(text), 5)]


def _steps(subject: ParserUnderTest, example: Example, pieces: Sequence[str]) -> int:
    """How many functions are called, of the parser and of the interpreter."""
    count = 0

    def counting(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counting)
    try:
        subject.in_pieces(example, pieces)
    finally:
        sys.setprofile(before)
    return count


PARSER_CHECKS: tuple[ParserCheck, ...] = (
    examples_are_read_as_they_say,
    a_text_cut_anywhere_is_read_like_the_whole,
    a_text_that_ends_anywhere_has_no_other_call,
    nothing_that_a_model_writes_raises,
    arguments_can_be_written_as_json,
    texts_do_not_meet,
    a_session_reads_one_text,
    steps_grow_with_the_text,
)
"""All of them."""
