"""Whose handshakes are taken."""

from __future__ import annotations

import pytest

from hermes_trio.console.access import handshake_objection


@pytest.mark.parametrize(
    ("origin", "host", "has_token", "is_taken"),
    [
        (None, "127.0.0.1:9001", False, True),
        ("http://127.0.0.1:9001", "127.0.0.1:9001", False, True),
        ("https://console.example", "console.example", True, True),
        ("http://localhost:9001", "localhost:9001", False, True),
        ("http://[::1]:9001", "[::1]:9001", False, True),
        ("http://HOST:1", "host:1", True, True),
        ("http://evil.example", "127.0.0.1:9001", True, False),
        ("http://127.0.0.1:9002", "127.0.0.1:9001", False, False),
        ("null", "127.0.0.1:9001", True, False),
        ("http://[", "127.0.0.1:9001", True, False),
        ("file://127.0.0.1:9001", "127.0.0.1:9001", True, False),
        ("http://rebound.example:9001", "rebound.example:9001", False, False),
        (None, "rebound.example:9001", False, False),
        (None, "[", False, False),
        (None, None, True, False),
        (None, "", False, False),
    ],
)
def test_only_our_own_page_may_open_it(
    origin: str | None, host: str | None, has_token: bool, is_taken: bool
) -> None:
    """And without a token only by this machine's own names."""
    assert (handshake_objection(origin=origin, host=host, has_token=has_token) is None) is is_taken
