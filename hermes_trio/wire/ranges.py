"""Values with their bounds: plain ``int``, ``float`` and ``str`` to the type checker, checked by the codec.

Integers end at 2**53 - 1, the largest that every JSON reader keeps exact (RFC 8259, section 6).
"""

from __future__ import annotations

import re
from typing import Annotated

from attrs import frozen

MAX_INTEGER = 2**53 - 1


@frozen
class Between:
    """Bounds of an integer, both included."""

    low: int
    high: int = MAX_INTEGER


@frozen
class Finite:
    """Bounds of a number of seconds: finite, never negative.

    Args:
        zero: whether 0 is allowed.
    """

    zero: bool


@frozen
class Written:
    """How a text is written, from its first character to its last.

    Args:
        pattern: a regular expression.
        like: what is said of a text that is not written so.
    """

    pattern: str
    like: str

    def fits(self, text: str) -> bool:
        """Whether a text is written so."""
        return re.fullmatch(self.pattern, text) is not None


Count = Annotated[int, Between(0)]
Positive = Annotated[int, Between(1)]
Seconds = Annotated[float, Finite(zero=True)]
PositiveSeconds = Annotated[float, Finite(zero=False)]

TRACEPARENT = Written(
    "00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}",
    "a W3C traceparent of version 00",
)
"""W3C Trace Context, section 3.2: version, trace, span, flags; ids of zeros name nothing."""
Traceparent = Annotated[str, TRACEPARENT]
