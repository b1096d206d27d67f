"""What every parser gives back. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from attrs import field, frozen


@frozen
class ParsedCall:
    """One call found in text; ``raw_text`` is the text it was found in, tags included."""

    name: str
    arguments: Mapping[str, Any] = field(factory=dict)
    raw_text: str = field(default="", kw_only=True)


class ToolCallParser(Protocol):
    """One dialect."""

    def parse(self, text: str) -> tuple[str | None, tuple[ParsedCall, ...]]:
        """What was said beside the calls (``None`` when nothing was), and the calls in order.

        Without a call the text comes back as it was.
        """
        ...
