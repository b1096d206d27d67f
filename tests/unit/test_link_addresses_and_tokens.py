"""URLs of links, and the tokens that open them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_trio.errors import InvalidInputError
from hermes_trio.link.auth import TokenGate, bearer_header, check_token_text
from hermes_trio.link.url import parse_link_url


@pytest.mark.parametrize(
    ("url", "origin", "resource"),
    [
        ("ws://127.0.0.1:9001", "ws://127.0.0.1:9001", "/"),
        ("wss://sandbox.example", "wss://sandbox.example:443", "/"),
        ("ws://sandbox", "ws://sandbox:80", "/"),
        ("ws://[::1]:7/a/b?c=d", "ws://[::1]:7", "/a/b?c=d"),
        ("WS://Host:1/", "ws://host:1", "/"),
    ],
)
def test_a_url_is_taken_apart(url, origin, resource):
    """With the default ports of RFC 6455."""
    address = parse_link_url(url)
    assert (address.origin, address.resource) == (origin, resource)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:9001", "begins with ws://"),
        ("127.0.0.1:9001", "begins with ws://"),
        ("ws://", "no host"),
        ("ws://:80", "no host"),
        ("ws://a:99999", "not a URL"),
        ("ws://a:b", "not a URL"),
        ("ws://[::1", "not a URL"),
        ("ws://" + "a" * 70, "not a URL"),
        ("ws://a/#b", "fragments do not belong"),
        ("ws://a/b c", "characters"),
        ("ws://a/ü", "characters"),
    ],
)
def test_what_is_no_url_of_a_daemon_is_one_clear_line(url, says):
    """Naming the URL."""
    with pytest.raises(InvalidInputError, match=says) as caught:
        parse_link_url(url)
    assert url[:60] in str(caught.value)


@pytest.mark.parametrize("url", ["ws://user:hunter2@host", "http://hunter2@host", "ws://hunter2@host:x"])
def test_credentials_in_a_url_are_refused_and_not_repeated(url):
    """Error texts end up in logs."""
    with pytest.raises(InvalidInputError) as caught:
        parse_link_url(url)
    assert "hunter2" not in str(caught.value)


def test_a_gate_opens_for_its_tokens_only():
    """Two of them while one replaces the other; the scheme in any case, as HTTP wants it."""
    gate = TokenGate(["first-token", "second-token"])
    for good in ("Bearer first-token", "bearer second-token", "BEARER  first-token"):
        assert gate(good)
    for bad in (None, "", "Bearer", "Bearer ", "Bearer first-toke", "Bearer first-tokens", "first-token"):
        assert not gate(bad)
    for bad in ("Basic first-token", "Bearer first-token second-token", "Bearer \xff\udcff"):
        assert not gate(bad)


def test_a_gate_does_not_show_its_tokens():
    """Not in its repr, nor anywhere among its attributes."""
    gate = TokenGate(["first-token"])
    assert repr(gate) == "<TokenGate of 1>"
    assert "first-token" not in str(vars(gate))


@pytest.mark.parametrize("tokens", [[], ["a", "b", "c"], [""], ["a b"], ["a\n"], ["ü"], ["x" * 5000]])
def test_a_gate_needs_one_or_two_sound_tokens(tokens):
    """And says so without repeating them."""
    with pytest.raises(InvalidInputError, match="token") as caught:
        TokenGate(tokens)
    assert "ü" not in str(caught.value)


@given(st.text(), st.text(min_size=1))
def test_only_the_very_token_opens(header, token):
    """Whatever else is presented."""
    try:
        gate = TokenGate([token])
    except InvalidInputError:
        return
    assert gate(f"Bearer {token}")
    assert gate(bearer_header(check_token_text(token)))
    assert gate(header) == (header.partition(" ")[2].strip() == token and header[:7].lower() == "bearer ")
