"""PURE. Who may open the console's websocket: by its handshake, and by its first message."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def handshake_objection(*, origin: str | None, host: str | None, has_token: bool) -> str | None:
    """Why a handshake is refused; ``None``: it is not.

    Browsers send the origin of the page that asks: only our own page may. What is no browser sends none.
    Without a token the name in ``Host`` must be this machine's own: a page that has had its name resolved to
    127.0.0.1 (DNS rebinding) is of its own origin, and its name gives it away.

    Args:
        origin: the header ``Origin``.
        host: the header ``Host``.
        has_token: whether a token is asked for next.
    """
    if not host:
        return "no Host"
    if origin is not None and _authority(origin) != host.lower():
        return "the page that asks is not this console's"
    if not has_token and not _is_own_name(host):
        return "without a token the console is opened as 127.0.0.1 or localhost only"
    return None


def _authority(origin: str) -> str:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return ""
    return parts.netloc.lower() if parts.scheme in ("http", "https") else ""


def _is_own_name(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
    return True
