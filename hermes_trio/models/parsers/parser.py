"""A dialect, ready to read whole texts and streams. PURE."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Any

from attrs import field, frozen

from hermes_trio.models.parsers.base import Dialect, Event, ParsedCall, ParsedText, Problem, TextDelta
from hermes_trio.models.parsers.schemas import ArgumentTypes
from hermes_trio.models.parsers.session import MAX_TEXT_CHARS, ParseSession

STEP_CHARS = 32_768
"""Of one step: at worst about 40 ms. Nearly all answers are one step."""


@frozen(kw_only=True)
class ToolCallParser:
    """Finds the calls in what a model wrote. Has no state: one may read any number of texts at once.

    It never raises on what a model wrote, and never invents a call: text that is no call stays text.
    """

    name: str
    _dialect: Dialect
    _types: ArgumentTypes = field(factory=ArgumentTypes)
    max_chars: int = MAX_TEXT_CHARS
    """Calls are looked for in so much of a text; the rest is content, and a :class:`Problem` says so."""

    def parse(
        self, text: str, *, tools: Iterable[Mapping[str, Any]] | None = None, in_thought: bool = False
    ) -> tuple[str | None, tuple[ParsedCall, ...]]:
        """What was said beside the calls (``None`` when nothing was), and the calls in order.

        Without a call the text comes back as it was. For the arguments see :meth:`session`.
        """
        parsed = self.parse_detailed(text, tools=tools, in_thought=in_thought)
        return parsed.content, parsed.calls

    def parse_detailed(
        self, text: str, *, tools: Iterable[Mapping[str, Any]] | None = None, in_thought: bool = False
    ) -> ParsedText:
        """What :meth:`parse` gives, and what began like a call and is none."""
        return _last(self.parsing(text, tools=tools, in_thought=in_thought))

    def parsing(
        self, text: str, *, tools: Iterable[Mapping[str, Any]] | None = None, in_thought: bool = False
    ) -> Generator[None, None, ParsedText]:
        """:meth:`parse_detailed` in steps of some tens of milliseconds, for those who share their thread.

        Yields after each step; the generator's value is what the text came to.
        """
        session = self.session(tools=tools, in_thought=in_thought)
        events = list[Event]()
        for start in range(0, len(text), STEP_CHARS):
            if start:
                yield
            events += session.feed(text[start : start + STEP_CHARS])
        events += session.finish()
        content = "".join(event.text for event in events if isinstance(event, TextDelta))
        calls = tuple(event for event in events if isinstance(event, ParsedCall))
        return ParsedText(
            content=None if calls and not content else content,
            calls=calls,
            problems=tuple(event for event in events if isinstance(event, Problem)),
        )

    def session(
        self, *, tools: Iterable[Mapping[str, Any]] | None = None, in_thought: bool = False
    ) -> ParseSession:
        """Begin to read a text that arrives in pieces.

        Args:
            tools: in OpenAI's function format; they tell the types of arguments in dialects that write them
                without quotes. ``None``: those that the parser was made with.
            in_thought: the prompt has opened the thought, as some chat templates do; the text begins
                inside it.
        """
        types = self._types if tools is None else ArgumentTypes(tools)
        return ParseSession(self._dialect, types, in_thought=in_thought, max_chars=self.max_chars)


def _last(parsing: Generator[None, None, ParsedText]) -> ParsedText:
    while True:
        try:
            next(parsing)
        except StopIteration as stop:
            parsed: ParsedText = stop.value
            return parsed
