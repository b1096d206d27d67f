"""Numbers with their bounds: plain ``int`` and ``float`` to the type checker, checked by the codec.

Integers end at 2**53 - 1, the largest that every JSON reader keeps exact (RFC 8259, section 6).
"""

from __future__ import annotations

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


Count = Annotated[int, Between(0)]
Positive = Annotated[int, Between(1)]
Seconds = Annotated[float, Finite(zero=True)]
PositiveSeconds = Annotated[float, Finite(zero=False)]
