"""When a request to a model server is sent again. PURE: the clock and the dice are arguments.

Only what is safe is repeated: no connection came about, so nothing was asked; or the server itself said that
it did nothing: 429 with a ``Retry-After``, 502, 503, 504, all before the first byte of an answer. A
connection that broke later may have cost a generation, and every other 4xx will not get better.

The waits double, and are shortened by up to half by lot, so that a thousand trajectories that were refused in
one instant do not come back in one. What ``Retry-After`` asks for is waited for in full, with the lot on top.
"""

from __future__ import annotations

from email.utils import mktime_tz, parsedate_tz

from attrs import frozen

from hermes_trio.models.errors import ModelError, ModelStatusError, ModelUnreachableError

_GATEWAY = frozenset({502, 503, 504})
_TOO_MANY = 429


@frozen(kw_only=True)
class RetryPolicy:
    """How often and how long one call is tried.

    Args:
        max_attempts: requests at most, the first included.
        first_delay_s: wait before the second request.
        max_delay_s: of one wait, unless the server asks for more.
        budget_s: of all waits of a call together; a server that asks for more is not waited for.
    """

    max_attempts: int = 4
    first_delay_s: float = 0.25
    max_delay_s: float = 8.0
    budget_s: float = 30.0

    def delay_s(
        self, error: ModelError, *, attempt: int, waited_s: float, dice: float, now_s: float
    ) -> float | None:
        """How long to wait before asking again; ``None``: not again.

        Args:
            error: what the attempt ended with.
            attempt: how many were made, at least 1.
            waited_s: what this call waited between its attempts so far.
            dice: evenly from 0 to 1.
            now_s: seconds since the epoch, for a ``Retry-After`` that is a date.
        """
        if attempt >= self.max_attempts or not is_safe_to_repeat(error, now_s=now_s):
            return None
        asked_s = _asked_s(error, now_s=now_s)
        backoff_s = min(self.max_delay_s, self.first_delay_s * 2.0 ** (attempt - 1)) * (1.0 - dice / 2)
        delay_s = backoff_s if asked_s is None else asked_s + backoff_s
        return delay_s if waited_s + delay_s <= self.budget_s else None


def is_safe_to_repeat(error: ModelError, *, now_s: float) -> bool:
    """Whether asking again can do no harm and some good."""
    match error:
        case ModelUnreachableError():
            return True
        case ModelStatusError(status=status) if status == _TOO_MANY:
            return _asked_s(error, now_s=now_s) is not None
        case ModelStatusError(status=status):
            return status in _GATEWAY
        case _:
            return False


def _asked_s(error: ModelError, *, now_s: float) -> float | None:
    told = error.retry_after if isinstance(error, ModelStatusError) else None
    return None if told is None else retry_after_s(told, now_s=now_s)


def retry_after_s(text: str, *, now_s: float) -> float | None:
    """The seconds that a ``Retry-After`` header asks to wait; ``None`` when it cannot be read.

    Source: RFC 9110, section 10.2.3.
    """
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        date = parsedate_tz(text)
        return None if date is None else max(0.0, mktime_tz(date) - now_s)
    except (ValueError, OverflowError):
        return None
