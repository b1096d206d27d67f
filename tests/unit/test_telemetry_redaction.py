"""What stands where secrets stand is taken out; words of people are left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from hermes_trio.link.auth import TokenGate, bearer_header
from hermes_trio.telemetry import redaction
from hermes_trio.telemetry.redaction import MAX_SECRETS, REDACTED, keep_secret, redacted

SECRET = "s3cr/t+value"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Each test registers its own."""
    before = dict(redaction._secrets)
    redaction._secrets.clear()
    yield
    redaction._secrets.clear()
    redaction._secrets.update(before)


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer s3cr/t+value",
        "authorization: s3cr/t+value",
        "{'Authorization': 'Bearer s3cr/t+value'}",
        "[(b'authorization', b'Basic s3cr/t+value')]",
        '{"proxy-authorization":"Digest s3cr/t+value"}',
        "X-Api-Key: s3cr/t+value",
        "api_key=s3cr/t+value, model=m",
        "it sent Bearer s3cr/t+value",
        "https://user:s3cr%2Ft@host/path and ws://s3cr%2Ft@host",
        "GET /v1?token=s3cr/t+value&x=1",
        "https://host/?a=1&access_token=s3cr/t+value#there",
    ],
)
def test_what_stands_where_secrets_stand_is_taken_out(text: str) -> None:
    """Nobody has registered it."""
    assert "s3cr" not in redacted(text)
    assert REDACTED in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "the bearer token is wrong",
        "basic isolation is enough",
        "ws://127.0.0.1:7000/path?x=1",
        "who@example.org asked at http://host/a@b",
        "max_tokens=300 key=value",
        "no authorization was asked for",
    ],
)
def test_words_are_left(text: str) -> None:
    """A log of nothing but stars helps nobody."""
    assert redacted(text) == text


def test_a_registered_secret_is_found_wherever_it_stands() -> None:
    """In the middle of a word, and as a URL writes it."""
    keep_secret(SECRET)
    told = redacted(f"x{SECRET}y {quote(SECRET, safe='')}")
    assert told == f"x{REDACTED}y {REDACTED}"


def test_tokens_register_themselves() -> None:
    """Whoever makes a header or a gate of one."""
    bearer_header("presented-token")
    TokenGate(["accepted-token"])
    assert redacted("presented-token accepted-token") == f"{REDACTED} {REDACTED}"


def test_the_registry_is_bounded_and_takes_no_common_words() -> None:
    """The oldest is forgotten."""
    keep_secret(None)
    keep_secret("a")
    for number in range(MAX_SECRETS + 1):
        keep_secret(f"secret-{number:06}.")
    assert len(redaction._secrets) == MAX_SECRETS
    assert redacted("secret-000000. secret-000001. a") == f"secret-000000. {REDACTED} a"


@pytest.mark.parametrize("piece", ["authorization:", "Bearer ", "http://", "?token=", "a://a", "api_key=="])
def test_hostile_texts_take_linear_time(piece: str) -> None:
    """A quarter of a megabyte of beginnings, and none of them ends."""
    began = time.process_time()
    redacted(piece * (250_000 // len(piece)))
    assert time.process_time() - began < 5
