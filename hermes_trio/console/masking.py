"""PURE. What looks like a secret, masked: what the console shows of commands and frames goes through here.

By its name (``token=...``), by where it stands (``https://user:...@host``), or by its own form (keys that
their makers have given a prefix to be recognised by). That is a help, not a promise: a command can spell a
secret in any way.
"""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "•••"

SECRET_NAME: Final = re.compile(
    r"(?i)token|secret|passw|authorization|api[_-]?key|credential|session_id|cookie"
)
_NAMED: Final = re.compile(
    r"(?i)((?:token|secret|passw(?:or)?d|api[_-]?key|access[_-]?key|authorization)[\"']?\s*[=:\s]\s*[\"']?"
    r"(?:(?:bearer|basic)\s+)?|\b(?:bearer|basic)\s+)[^\s\"'&;]+"
)
_IN_ADDRESS: Final = re.compile(r"(\b[a-zA-Z][\w+.-]{1,15}://[^\s/:@\"']*:)[^\s/@\"']+(?=@)")
_BY_FORM: Final = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|hf_[A-Za-z0-9]{20,}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
)
_HINTS: Final = re.compile(
    r"(?i)token|secret|passw|key|auth|bearer|basic|://|sk-|gh[pousr]_|github_pat|hf_|xox|AKIA|ASIA|eyJ"
)


def mask_text(text: str) -> str:
    """The text without what looks like a secret."""
    if _HINTS.search(text) is None:
        return text
    text = _NAMED.sub(rf"\1{MASK}", text)
    text = _IN_ADDRESS.sub(rf"\1{MASK}", text)
    return _BY_FORM.sub(MASK, text)
