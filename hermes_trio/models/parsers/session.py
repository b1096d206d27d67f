"""Drives a dialect over a text that arrives in pieces. PURE.

What is decided here, once for all dialects:

* **Where calls are looked for.** Behind any of the dialect's markers, wherever they stand: also inside a code
  fence, as markers are tokens of the model's own that it does not write by chance, and servers read them so.
  Not inside a thought, which begins where nothing was said yet since the text began or the last call ended:
  what a model considers is not what it does. A call without a marker counts in the same place only.
* **What is a call.** Only what is complete, so that nothing that is missing could have changed it. What began
  like a call and is none stays in the content, and is a :class:`Problem`.
* **Where reading goes on after that.** Behind the dialect's closing marker: what stands before it belongs to
  the broken call, and a call that seems to be in it may be an example in a file that was being written, or in
  a string whose quotes were not escaped. When nothing but the marker was there (a sentence about the marker),
  or the dialect has no closing marker, at the character that could not be there. Nothing is read twice.
* **The content.** Text as it was, without the white space that touches a call; one line break where calls
  stood between two pieces. So the content can be told as it comes, and is the same however the text was cut.
* **Where looking for calls ends.** After :data:`MAX_TEXT_CHARS` characters. The rest is content, and that it
  was not read is a :class:`Problem`: reading costs about a microsecond a character, and holds up whoever
  does it.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from typing import Final, TypeAlias

from hermes_trio.errors import ClosedError
from hermes_trio.models.parsers.base import Dialect, Draft, Event, ParsedCall, Problem, TextDelta
from hermes_trio.models.parsers.cursor import Cursor, Malformed
from hermes_trio.models.parsers.schemas import ArgumentTypes

MAX_PROBLEMS: Final = 16
"""Of one output: the model reads them, and an output can be nothing but a million of them."""
MAX_TEXT_CHARS: Final = 1_048_576
"""Of one output: some 250,000 tokens, more than models write, and about a second at worst."""
_EXCERPT_CHARS = 40
_Steps: TypeAlias = Generator[Event | None, None, None]
"""What happened, or ``None`` where more text is needed."""


class ParseSession:
    """One model output, read as it arrives.

    Args:
        dialect: how calls are written in it.
        types: what the tools say about their arguments.
        in_thought: the prompt has opened the thought, the text begins inside it.
        max_chars: calls are looked for in so much of the text.
    """

    def __init__(
        self,
        dialect: Dialect,
        types: ArgumentTypes,
        *,
        in_thought: bool = False,
        max_chars: int = MAX_TEXT_CHARS,
    ) -> None:
        self._max_chars = max_chars
        self._room = max_chars
        self._finished = False
        self._dialect = dialect
        self._types = types
        self._cursor = Cursor()
        self._content = _Content()
        self._openers = tuple(dialect.openers)
        self._fresh = True
        """Nothing was said since the beginning, or since the last call or thought."""
        self._problems = 0
        self._steps = self._run(in_thought)

    def __repr__(self) -> str:
        return f"<ParseSession {self._cursor!r}>"

    def feed(self, text: str) -> tuple[Event, ...]:
        """More of the output.

        Returns:
            what is certain now. Text that may yet become a call is held back.

        Raises:
            ClosedError: the output was said to be finished.
        """
        if self._finished:
            raise ClosedError("this output is finished; a session reads one")
        read, rest = text[: self._room], text[self._room :]
        self._room -= len(read)
        events = list[Event]()
        if read:
            self._cursor.push(read)
            events += self._happened()
        if rest and not self._cursor.ended:
            self._cursor.ended = True
            events += (*self._happened(), self._too_long())
        return (*events, TextDelta(rest)) if rest else tuple(events)

    def finish(self) -> tuple[Event, ...]:
        """The output ends here.

        Returns:
            what was held back. Nothing when it was finished already.
        """
        self._finished = self._cursor.ended = True
        return tuple(self._happened())

    def _too_long(self) -> Problem:
        reason = (
            f"calls are read in the first {self._max_chars} characters of a text only, this one is longer"
        )
        return Problem(reason=reason, position=self._max_chars, start=self._max_chars, excerpt="")

    def _happened(self) -> Iterator[Event]:
        """What happens until more text is needed; pieces of text that touch are one event."""
        said: list[str] = []
        for event in self._steps:
            if isinstance(event, TextDelta):
                said.append(event.text)
                continue
            if said:
                yield TextDelta("".join(said))
                said.clear()
            if event is None:
                return
            yield event
        if said:
            yield TextDelta("".join(said))

    def _run(self, in_thought: bool) -> _Steps:
        if in_thought:
            yield from self._thought()
        while not self._cursor.exhausted:
            if self._fresh:
                yield from self._first_words()
            else:
                yield from self._words()
        yield from self._content.finish()

    def _first_words(self) -> _Steps:
        """Where a thought, or a call without a marker, can begin."""
        cursor = self._cursor
        yield from self._content.say((yield from cursor.skip_space()))
        self._fresh = False
        if (yield from cursor.next_is(self._dialect.thought[0])):
            yield from self._thought()
        elif cursor.char and cursor.char in self._dialect.bare:
            yield from self._call("")

    def _thought(self) -> _Steps:
        """Text up to the end of the thought; when it never ends, a call in it is a problem."""
        closer, inside = self._dialect.thought[1], None
        while True:
            text, marker = self._cursor.search((closer, *self._openers))
            yield from self._content.say(text)
            if marker:
                yield from self._pass_over(marker)
                if marker == closer:
                    self._fresh = True
                    return
                inside = self._cursor.position if inside is None else inside
            elif self._cursor.ended:
                break
            else:
                yield None
        if inside is not None:
            reason = f"a call inside a thought does not count, and there is no {closer}"
            yield Problem(reason=reason, position=inside, start=inside, excerpt="")

    def _say_through(self, marker: str) -> _Steps:
        """Text up to the marker, and the marker; to the end when it does not come."""
        while True:
            text, found = self._cursor.search((marker,))
            yield from self._content.say(text)
            if found:
                yield from self._pass_over(found)
            if found or self._cursor.ended:
                return
            yield None

    def _pass_over(self, marker: str) -> _Steps:
        self._cursor.skip(len(marker))
        yield from self._content.say(marker)

    def _words(self) -> _Steps:
        """Text up to the next call, and the call."""
        text, opener = self._cursor.search(self._openers)
        yield from self._content.say(text)
        if opener:
            yield from self._call(opener)
        elif not self._cursor.exhausted:
            yield None

    def _call(self, opener: str) -> _Steps:
        cursor = self._cursor
        start = cursor.position
        cursor.mark()
        cursor.skip(len(opener))
        try:
            for draft in self._dialect.read(cursor, opener, self._types):
                if draft is None:
                    yield None
                else:
                    yield self._checked(draft)
                    start = cursor.position
        except Malformed as error:
            if error.reason:
                yield from self._tell(error, start)
            self._fresh = False
            yield from self._content.say(cursor.release())
            if self._dialect.closer and cursor.committed:
                yield from self._say_through(self._dialect.closer)
        else:
            yield from cursor.skip_space()
            yield from cursor.accept(*self._dialect.ends)
            cursor.release()

    def _checked(self, draft: Draft) -> ParsedCall:
        cursor = self._cursor
        try:
            # Catches infinite numbers, half surrogate pairs and integers too long to print: orjson, a socket
            # or a trainer's reader would refuse them where nobody can tell the model.
            json.dumps([draft.name, draft.arguments], ensure_ascii=False, allow_nan=False).encode()
        except ValueError as error:
            reason = "the arguments cannot be written as JSON in UTF-8"
            raise Malformed(reason, position=cursor.position) from error
        self._fresh = True
        self._content.call()
        return ParsedCall(draft.name, draft.arguments, raw_text=cursor.mark(), call_id=draft.call_id)

    def _tell(self, error: Malformed, start: int) -> Iterator[Problem]:
        self._problems += 1
        if self._problems > MAX_PROBLEMS:
            return
        last = self._problems == MAX_PROBLEMS
        yield Problem(
            reason=error.reason + ("; further calls that cannot be read are not told" if last else ""),
            position=error.position,
            start=start,
            excerpt=self._cursor.before(error.position, most=_EXCERPT_CHARS),
        )


class _Content:
    """The text beside the calls: see the module."""

    def __init__(self) -> None:
        self._space: list[str] = []  # held back: it is dropped when a call follows
        self._said = False
        self._after_call = False

    def say(self, text: str) -> Iterator[TextDelta]:
        """More text."""
        if self._after_call:
            text = text.lstrip()
            if not text:
                return
            self._after_call = False
            text = f"\n{text}" if self._said else text
        words = text.rstrip()
        if words:
            yield TextDelta("".join((*self._space, words)))
            self._space.clear()
            self._said = True
        self._space.append(text[len(words) :])

    def call(self) -> None:
        """A call stood here."""
        self._space.clear()
        self._after_call = True

    def finish(self) -> Iterator[TextDelta]:
        """No more comes."""
        rest = "".join(self._space)
        if rest:
            yield TextDelta(rest)
