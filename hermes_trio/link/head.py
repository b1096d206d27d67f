"""PURE: the first request on a connection, and what it deserves.

The head is read here and not by the websocket library, because everything that can be refused is refused
before the upgrade, in plain HTTP, and because orchestrators ask ``GET /health`` on the same port.

Order of judgement: a page in a browser (``Origin``) is turned away before anything else; then whoever has
no valid token learns nothing more than that; only then do path, form and room matter.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from enum import Enum, auto
from http import HTTPStatus
from typing import final

import h11
from attrs import frozen

MAX_HEAD_BYTES = 16 * 1024
LINK_PATH = "/"
HEALTH_PATH = "/health"

_Header = tuple[bytes, bytes]


@frozen(kw_only=True)
class RequestHead:
    """A request line and its headers (names in lower case)."""

    method: bytes
    path: bytes
    http_version: bytes
    headers: tuple[_Header, ...]
    surplus: bool
    """Bytes came in behind the head, before anybody answered."""

    def values(self, name: bytes) -> tuple[bytes, ...]:
        """All values of one header, in order."""
        return tuple(value for key, value in self.headers if key == name)

    def tokens(self, name: bytes) -> frozenset[bytes]:
        """The comma-separated words of a header, in lower case (RFC 9110, 5.6.1)."""
        return frozenset(
            word.strip().lower() for value in self.values(name) for word in value.split(b",") if word.strip()
        )


@frozen(kw_only=True)
class Answer:
    """A plain HTTP response; the connection ends behind it."""

    status: HTTPStatus
    body: bytes = b""
    headers: tuple[_Header, ...] = ()
    content_type: bytes = b"text/plain; charset=utf-8"

    def render(self) -> bytes:
        """The bytes of it."""
        lines = [
            b"HTTP/1.1 %d %s" % (self.status, self.status.phrase.encode("ascii")),
            b"Content-Type: " + self.content_type,
            b"Content-Length: %d" % len(self.body),
            b"Connection: close",
            *(name + b": " + value for name, value in self.headers),
        ]
        return b"\r\n".join([*lines, b"", self.body])


class Wish(Enum):
    """What a request may have."""

    LINK = auto()
    HEALTH = auto()


@final
class HeadReader:
    """Collects bytes until there is a head, or until there will not be one."""

    def __init__(self) -> None:
        self.raw = b""
        """Everything received, for whoever parses it next."""
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)

    def receive_data(self, data: bytes) -> RequestHead | Answer | None:
        """Take some bytes; ``b""`` is the end of the stream.

        Returns:
            The head; or the refusal of what cannot become one; or ``None``: more is needed.
        """
        self.raw += data
        self._http.receive_data(data)
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            return self._refuse(HTTPStatus(error.error_status_hint))
        if not isinstance(event, h11.Request):
            return None if event is h11.NEED_DATA else refuse(HTTPStatus.BAD_REQUEST)
        surplus = len(self._http.trailing_data[0])
        if len(self.raw) - surplus > MAX_HEAD_BYTES:  # h11 lets a head pass that comes in one piece
            return self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        return _head(event, surplus=surplus > 0)

    def _refuse(self, status: HTTPStatus) -> Answer:
        too_large = status is HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        if too_large and b"\nauthorization:" in self.raw.lower():
            status = HTTPStatus.UNAUTHORIZED  # a token of a megabyte is a wrong token, and no more
        return refuse(status)


def _head(request: h11.Request, *, surplus: bool) -> RequestHead:
    return RequestHead(
        method=request.method,
        path=request.target.partition(b"?")[0],
        http_version=request.http_version,
        headers=tuple(request.headers),
        surplus=surplus,
    )


def refuse(status: HTTPStatus, *headers: _Header, why: str = "") -> Answer:
    """An answer that says no."""
    if status is HTTPStatus.UNAUTHORIZED:
        headers = (*headers, (b"WWW-Authenticate", b"Bearer"))
    return Answer(status=status, body=f"{why or status.phrase}\n".encode(), headers=headers)


def judge(head: RequestHead, *, check_token: Callable[[str | None], bool], room: bool) -> Wish | Answer:
    """Decide about a request.

    Args:
        head: the request.
        check_token: is given the ``Authorization`` header's value, ``None`` when there is none.
        room: whether one more link fits.

    Returns:
        What it may have, or the refusal to send.
    """
    if b"websocket" not in head.tokens(b"upgrade"):
        return _judge_plain(head)
    if head.values(b"origin"):
        return refuse(HTTPStatus.FORBIDDEN, why="browsers have no business here")
    if not check_token(_authorization(head.values(b"authorization"))):
        return refuse(HTTPStatus.UNAUTHORIZED)
    if head.path != LINK_PATH.encode():
        return refuse(HTTPStatus.NOT_FOUND)
    return _judge_upgrade(head) or (Wish.LINK if room else refuse_for_room())


def refuse_for_room() -> Answer:
    """There are too many connections."""
    return refuse(HTTPStatus.SERVICE_UNAVAILABLE, (b"Retry-After", b"1"), why="too many connections")


def _authorization(values: Sequence[bytes]) -> str | None:
    return (
        values[0].decode("latin-1") if len(values) == 1 else None
    )  # two of them are none: which one counts?


def _judge_plain(head: RequestHead) -> Wish | Answer:
    if head.method != b"GET":
        return refuse(HTTPStatus.METHOD_NOT_ALLOWED, (b"Allow", b"GET"))
    if head.path == HEALTH_PATH.encode():
        return Wish.HEALTH
    if head.path == LINK_PATH.encode():
        return refuse(HTTPStatus.BAD_REQUEST, why="this port speaks websocket; GET /health is plain HTTP")
    return refuse(HTTPStatus.NOT_FOUND)


def _judge_upgrade(head: RequestHead) -> Answer | None:
    """Hold the request against RFC 6455, section 4.2.1."""
    if head.method != b"GET":
        return refuse(HTTPStatus.METHOD_NOT_ALLOWED, (b"Allow", b"GET"))
    if head.values(b"sec-websocket-version") != (b"13",):
        return refuse(HTTPStatus.UPGRADE_REQUIRED, (b"Sec-WebSocket-Version", b"13"))
    sound = (
        head.http_version == b"1.1"
        and b"upgrade" in head.tokens(b"connection")
        and len(head.values(b"upgrade")) == len(head.values(b"connection")) == 1
        and _is_key(head.values(b"sec-websocket-key"))
        and not _has_body(head)
        and not head.surplus  # the library would lose them: a client may not speak before it is welcomed
        and all(value.isascii() for _, value in head.headers)
    )
    return None if sound else refuse(HTTPStatus.BAD_REQUEST, why="this is not a websocket handshake")


def _has_body(head: RequestHead) -> bool:
    lengths = head.values(b"content-length")
    return bool(head.values(b"transfer-encoding")) or any(length.strip() != b"0" for length in lengths)


def _is_key(values: Sequence[bytes]) -> bool:
    try:
        return len(values) == 1 and len(base64.b64decode(values[0], validate=True)) == 16
    except binascii.Error:
        return False
