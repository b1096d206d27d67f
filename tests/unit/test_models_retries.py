"""What is asked again, when, and when no more."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from hermes_trio.models.errors import (
    ModelConnectionError,
    ModelError,
    ModelResponseError,
    ModelStatusError,
    ModelUnreachableError,
)
from hermes_trio.models.retries import RetryPolicy, is_safe_to_repeat, retry_after_s

URL = "http://h"
UNREACHABLE = ModelUnreachableError("refused", url=URL)
NOW_S = 1_800_000_000.0


def status(code: int, retry_after: str | None = None) -> ModelError:
    """An answer with an error status."""
    return ModelStatusError(code, url=URL, retry_after=retry_after)


def delay(
    error: ModelError, *, policy: RetryPolicy | None = None, attempt: int = 1, **more: float
) -> float | None:
    """How long the policy waits."""
    told = {"waited_s": 0.0, "dice": 0.0, "now_s": NOW_S} | more
    return (policy or RetryPolicy()).delay_s(error, attempt=attempt, **told)


@pytest.mark.parametrize(
    ("error", "safe"),
    [
        (UNREACHABLE, True),
        (status(429, "1"), True),
        (status(502), True),
        (status(503), True),
        (status(504, "3"), True),
        (status(429), False),
        (status(429, "soon"), False),
        (status(400), False),
        (status(401, "1"), False),
        (status(404), False),
        (status(408, "1"), False),
        (status(422), False),
        (status(307), False),
        (status(500), False),
        (status(501), False),
        (ModelConnectionError("reset", url=URL), False),
        (ModelResponseError("html", url=URL), False),
    ],
    ids=lambda value: str(value)[:60],
)
def test_only_what_is_safe_is_repeated(error: ModelError, safe: bool) -> None:
    """Nothing was asked, or the server says that it did nothing."""
    assert is_safe_to_repeat(error, now_s=NOW_S) is safe
    assert (delay(error) is not None) is safe


def test_waits_double_up_to_their_bound_and_lots_shorten_them() -> None:
    """By up to half."""
    policy = RetryPolicy(max_attempts=10, first_delay_s=1.0, max_delay_s=5.0)
    assert [delay(UNREACHABLE, policy=policy, attempt=n) for n in range(1, 6)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert delay(UNREACHABLE, policy=policy, attempt=2, dice=0.5) == 1.5


def test_what_the_server_asks_for_is_waited_for_in_full() -> None:
    """With the lot on top, so that not all come back in the same instant."""
    policy = RetryPolicy(first_delay_s=1.0)
    assert delay(status(429, "7"), policy=policy) == 8.0
    assert delay(status(503, "7"), policy=policy, dice=1.0) == 7.5


def test_a_call_has_a_budget_of_attempts_and_of_waiting() -> None:
    """A server that is never ready ends it."""
    policy = RetryPolicy(max_attempts=3, first_delay_s=1.0, budget_s=10.0)
    assert delay(UNREACHABLE, policy=policy, attempt=2) == 2.0
    assert delay(UNREACHABLE, policy=policy, attempt=3) is None
    assert delay(status(429, "9"), policy=policy) == 10.0
    assert delay(status(429, "10"), policy=policy) is None
    assert delay(UNREACHABLE, policy=policy, waited_s=9.5) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 12 ", 12.0),
        ("9" * 400, 999_999_999.0),
        (formatdate(NOW_S + 30, usegmt=True), 30.0),
        (formatdate(NOW_S - 30, usegmt=True), 0.0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("Wed, 99 Foo", None),
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(text: str, seconds: float | None) -> None:
    """Or not at all."""
    assert retry_after_s(text, now_s=NOW_S) == seconds
