"""What the parsers give back, and what a dialect is. PURE."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeAlias

from attrs import field, frozen

from hermes_trio.models.parsers.cursor import Cursor
from hermes_trio.models.parsers.schemas import ArgumentTypes


@frozen
class ParsedCall:
    """One call found in text.

    Attributes:
        name: as the model wrote it, never empty; whether such a tool exists is the caller's question.
        arguments: can be written as JSON, in UTF-8: no NaN, no half surrogate pairs.
        raw_text: the text it was found in, tags included.
        call_id: the id that the model gave it, in dialects that have one (Kimi, Mistral); else empty.
    """

    name: str
    arguments: Mapping[str, Any] = field(factory=dict)
    raw_text: str = field(default="", kw_only=True)
    call_id: str = field(default="", kw_only=True)


@frozen
class TextDelta:
    """Text beside the calls; all of them together are the content."""

    text: str


@frozen(kw_only=True)
class Problem:
    """Text that claimed to be a call and is none; it stays in the content.

    Attributes:
        reason: what was expected, or what is wrong, in words for the model.
        position: the character of the whole text at which reading failed, counted from 0.
        start: where the call began.
        excerpt: the end of what was read of the call, up to ``position``.
    """

    reason: str
    position: int
    start: int
    excerpt: str

    def __str__(self) -> str:
        """One sentence that names the place by what stands before it."""
        return f"tool call not readable: {self.reason} (at character {self.position}, after {self.excerpt!r})"


Event: TypeAlias = TextDelta | ParsedCall | Problem


@frozen(kw_only=True)
class ParsedText:
    """A whole text, read.

    Attributes:
        content: what was said beside the calls; ``None`` when there are calls and nothing else. Without a
            call it is the text as it was.
        calls: in order.
        problems: in order.
    """

    content: str | None
    calls: tuple[ParsedCall, ...]
    problems: tuple[Problem, ...]


@frozen
class Draft:
    """A call as a dialect read it, not checked yet."""

    name: str
    arguments: Mapping[str, Any]
    call_id: str = ""


CallReader: TypeAlias = Generator[Draft | None, None, None]
"""Yields ``None`` for more input, a draft for a call that is complete up to where the cursor stands.

What it has read when it returns belongs to the last call. It raises ``Malformed`` where no call can be.
"""


@frozen(kw_only=True)
class Dialect:
    """How one family of models writes calls.

    Attributes:
        openers: markers that begin a call, or a list of calls, wherever they stand.
        read: reads on behind the marker it is given (an empty one: the call began without a marker).
        closer: the marker that ends a call; empty when there is none.
        bare: characters that may begin a call without a marker where the model has said nothing yet.
        ends: tokens that end the model's turn, dropped behind a call: some servers leave them in the text.
        thought: the tags between which the model thinks.
    """

    openers: Sequence[str]
    read: Callable[[Cursor, str, ArgumentTypes], CallReader]
    closer: str = ""
    bare: str = ""
    ends: tuple[str, ...] = ()
    thought: tuple[str, str] = ("<think>", "</think>")
