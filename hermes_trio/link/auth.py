"""Bearer tokens: who may open a link."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import final

from hermes_trio.errors import InvalidInputError
from hermes_trio.telemetry.redaction import keep_secret

_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")  # what a header value carries without quoting (RFC 9110, 5.5)
_MAX_TOKENS = 2


def check_token_text(token: str) -> str:
    """Return the token, if a header can carry it; from now on it is kept out of logs.

    Raises:
        InvalidInputError: it is empty, too long or has spaces or unprintable characters. The text does not
            repeat it.
    """
    if _TOKEN.fullmatch(token):
        keep_secret(token)
        return token
    raise InvalidInputError("a token is 1 to 4096 printable ASCII characters without spaces", field="token")


def bearer_header(token: str) -> str:
    """The value of an ``Authorization`` header that presents this token."""
    return f"Bearer {check_token_text(token)}"


@final
class TokenGate:
    """Decides whether an ``Authorization`` header opens the door, in time that tells nothing.

    Only digests are kept and compared: lengths do not show, and neither ``repr`` nor a core dump of this
    object has the token itself.

    Args:
        tokens: one, or two while a token is being replaced.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests = tuple(_digest(check_token_text(token)) for token in tokens)
        if not 1 <= len(self._digests) <= _MAX_TOKENS:
            raise InvalidInputError("give one token, or two while one replaces the other", field="token")

    def __repr__(self) -> str:
        return f"<TokenGate of {len(self._digests)}>"

    def __call__(self, header_value: str | None) -> bool:
        """Whether this is ``Bearer <a valid token>``; ``None``: there was no such header."""
        scheme, _, token = (header_value or "").partition(" ")
        digest = _digest(token.strip())
        opens = [hmac.compare_digest(digest, known) for known in self._digests]  # all of them, always
        return any(opens) and scheme.lower() == "bearer"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
