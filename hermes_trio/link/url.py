"""PURE: the addresses of links."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from attrs import frozen

from hermes_trio.errors import InvalidInputError

_DEFAULT_PORTS = {"ws": 80, "wss": 443}


@frozen(kw_only=True)
class LinkAddress:
    """Where a link leads.

    Args:
        secure: TLS or not.
        host: name or address, without brackets.
        port: TCP port.
        resource: path and query of the request.
    """

    secure: bool
    host: str
    port: int
    resource: str

    @property
    def authority(self) -> str:
        """Host and port as HTTP's ``Host`` header spells them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """The part of the URL that may be shown: queries can carry secrets."""
        return f"{'wss' if self.secure else 'ws'}://{self.authority}"


def parse_link_url(url: str) -> LinkAddress:
    """Read a ``ws://`` or ``wss://`` URL.

    Raises:
        InvalidInputError: it is not one, or it carries what does not belong there. The text never repeats
            a URL with credentials in it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode("ascii")
    except ValueError as error:  # UnicodeError is one
        raise InvalidInputError("this is not a URL of a sandbox daemon", source=_shown(url)) from error
    _check(parts, host, url)
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return LinkAddress(
        secure=parts.scheme == "wss",
        host=host,
        port=_DEFAULT_PORTS[parts.scheme] if port is None else port,
        resource=resource,
    )


def _check(parts: SplitResult, host: str, url: str) -> None:
    match parts:
        case SplitResult(scheme=scheme) if scheme not in _DEFAULT_PORTS:
            complaint = "a sandbox daemon's URL begins with ws:// or wss://"
        case _ if not host:
            complaint = "the URL names no host"
        case SplitResult(username=None, password=None, fragment=""):
            if url.isascii() and url.isprintable() and " " not in url:
                return
            complaint = "the URL has characters that do not belong in one"
        case _:
            complaint = "credentials and fragments do not belong in a link's URL; give the token separately"
    raise InvalidInputError(complaint, source=_shown(url))


def _shown(url: str) -> str:
    return "url" if "@" in url else repr(url[:200])
