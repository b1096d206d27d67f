"""Takes secrets out of texts that are about to be kept or sent: log records, descriptions of spans.

Theory of operation. What a program knows to be a secret (its tokens, its model's key) is registered when it
is first used, and is found wherever it stands, also as a URL writes it. What nobody registered is found by
where secrets stand: behind ``Authorization`` or ``Bearer``, before a URL's ``@``, in a query's ``token=``.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

REDACTED: Final = "[redacted]"
MIN_SECRET_CHARS: Final = 6
"""A shorter one would be found in the middle of words, and is none."""
MAX_SECRETS: Final = 1024
"""Of one process. The oldest is forgotten first; by then its backend is long closed."""

_PLACES: Final = (
    # Authorization: Bearer x; 'authorization': 'Basic x'; (b'x-api-key', b'x')
    re.compile(
        r"""(?i)((?:proxy-)?authorization|x-api-key|api[_-]key)(["']?\s{0,8}[:=,]\s{0,8}(?:b?["'])?)"""
        r"""((?:bearer|basic|digest|token)\s{1,8})?[^\s"',;)}\]]+"""
    ),
    re.compile(r"""(\bBearer|\bbearer(?=\s{1,8}[^\s"',;)]{16}))(\s{1,8})()[^\s"',;)]+"""),
    re.compile(r"""(\b[A-Za-z][A-Za-z0-9+.-]{0,31}:)(//)()[^\s/@?#"']{1,2048}(?=@)"""),
    re.compile(
        r"""(?i)([?&](?:access_|api_?|auth_)?(?:token|key|secret|password|signature|sig))(=)()[^&\s#"']+"""
    ),
)

_secrets: dict[str, None] = {}


def keep_secret(secret: str | None) -> None:
    """Have a secret taken out of every text from now on. ``None``, or too short to be one: nothing."""
    if secret is None or len(secret) < MIN_SECRET_CHARS or secret in _secrets:
        return
    while len(_secrets) >= MAX_SECRETS:
        del _secrets[next(iter(_secrets))]
    _secrets[secret] = None


def redacted(text: str) -> str:
    """The text, without secrets."""
    for secret in tuple(_secrets):
        text = text.replace(secret, REDACTED)
        encoded = quote(secret, safe="")
        if encoded != secret:
            text = text.replace(encoded, REDACTED)
    for place in _PLACES:
        text = place.sub(_hide, text)
    return text


def _hide(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}{found[3] or ''}{REDACTED}"
