"""What is sent to a model server."""

from __future__ import annotations

import json

import pytest

from hermes_trio.errors import InvalidInputError
from hermes_trio.models.errors import (
    MAX_QUOTED_CHARS,
    ModelConnectionError,
    ModelResponseError,
    ModelStatusError,
    ModelUnreachableError,
    one_line,
)
from hermes_trio.models.request import (
    checked_api_key,
    completions_url,
    decode_body,
    is_loopback,
    public_url,
    request_body,
)


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://h:1", "http://h:1/v1/chat/completions"),
        ("http://h:1/", "http://h:1/v1/chat/completions"),
        (" http://h:1/v1 ", "http://h:1/v1/chat/completions"),
        ("https://h/api/v1/", "https://h/api/v1/chat/completions"),
        ("http://h/v1/chat/completions", "http://h/v1/chat/completions"),
        ("http://h/chat/completions/", "http://h/chat/completions"),
        ("http://h/v1?x=1#f", "http://h/v1/chat/completions?x=1"),
        ("http://[::1]:8/v1", "http://[::1]:8/v1/chat/completions"),
    ],
)
def test_people_write_base_urls_in_many_ways(base: str, url: str) -> None:
    """All of them lead to the one route."""
    assert completions_url(base) == url


@pytest.mark.parametrize(
    "base", ["", "localhost:8000", "ftp://h", "http://", "http://h:99999", "http://[::1", "http://h:0"]
)
def test_what_is_no_url_is_refused_in_one_line(base: str) -> None:
    """The text says which option is meant."""
    with pytest.raises(InvalidInputError, match=r"^model URL: ") as caught:
        completions_url(base)
    assert "\n" not in str(caught.value)


def test_a_public_url_has_no_credentials() -> None:
    """User, password and query stay out of texts."""
    assert public_url("http://u:p@h:1/v1?key=s") == "http://h:1/v1"


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:1", True),
        ("http://[::1]:1", True),
        ("http://localhost", True),
        ("http://a.localhost", True),
        ("http://10.0.0.1", False),
        ("http://example.com", False),
    ],
)
def test_loopback_addresses_are_known(url: str, loopback: bool) -> None:
    """No proxy is asked for them."""
    assert is_loopback(url) is loopback


def test_an_api_key_loses_only_the_white_space_around_it() -> None:
    """Files end in a newline."""
    assert checked_api_key("sk-1\n") == "sk-1"
    assert checked_api_key("") is checked_api_key(None) is checked_api_key("  ") is None


@pytest.mark.parametrize("key", ["a\nb", "schlüssel", "a b", "a\x00"])
def test_an_api_key_that_no_header_can_carry_is_refused_without_being_shown(key: str) -> None:
    """The text must not leak what it complains about."""
    with pytest.raises(InvalidInputError) as caught:
        checked_api_key(key)
    assert key not in str(caught.value)


def test_a_body_leaves_out_what_was_not_asked_for() -> None:
    """None is the server's default; extra members win."""
    body = request_body(
        [{"role": "user", "content": "x"}],
        options={"temperature": 0.0, "seed": None, "model": "a"},
        extra_body={"model": "b", "provider": {"ignore": ["p"]}},
    )
    assert json.loads(body) == {
        "messages": [{"role": "user", "content": "x"}],
        "temperature": 0.0,
        "model": "b",
        "provider": {"ignore": ["p"]},
    }


def test_a_body_with_lone_surrogates_and_huge_integers_is_sent_all_the_same() -> None:
    """A model can say what strict encoders refuse."""
    message = {"role": "user", "content": "\ud800", "n": 10**30}
    assert json.loads(request_body([message], options={}))["messages"] == [message]


def test_an_answer_with_lone_surrogates_is_read() -> None:
    """Servers in Python escape what they cannot encode."""
    assert decode_body(b'{"a": "\\ud800"}') == {"a": "\ud800"}
    assert decode_body(b"[1]") == [1]


@pytest.mark.parametrize("data", [b"", b"<html>", b"{", b"\xff", b"[" * 100_000])
def test_what_is_not_json_is_a_value_error(data: bytes) -> None:
    """Nothing else escapes, however deep the nesting."""
    with pytest.raises(ValueError, match=r"."):
        decode_body(data)


def test_each_model_error_is_one_sentence_with_the_address() -> None:
    """And carries its fields."""
    url = "http://h/v1/chat/completions"
    assert str(ModelUnreachableError("connection refused", url=url)) == (
        f"The model server at {url} cannot be reached: connection refused."
    )
    assert str(ModelConnectionError("reset", url=url)).endswith("broke the connection: reset.")
    status = ModelStatusError(429, "slow down", url=url, retry_after="3")
    assert str(status) == f"The model server at {url} answered 429 Too Many Requests: slow down"
    assert (status.status, status.retry_after, status.url) == (429, "3", url)
    assert str(ModelStatusError(599, url=url)).endswith("answered 599.")
    response = ModelResponseError("it is not JSON", url=url)
    assert response.status == 200
    assert str(response).endswith("did not answer a completion: it is not JSON.")


def test_a_servers_words_become_one_short_line_without_the_secret() -> None:
    """Servers repeat wrong keys, and send pages of HTML."""
    assert one_line("bad\n key  sk-1", secret="sk-1") == "bad key ***"
    long = one_line("x" * 1000)
    assert len(long) == MAX_QUOTED_CHARS
    assert long.endswith("…")
