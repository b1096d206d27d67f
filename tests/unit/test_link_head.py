"""The first request on a connection, judged without any connection."""

import base64
from http import HTTPStatus
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_trio.link.head import (
    MAX_HEAD_BYTES,
    Answer,
    HeadReader,
    RequestHead,
    Wish,
    judge,
    refuse,
    refuse_for_room,
)

KEY = base64.b64encode(bytes(16))
GOOD = {
    b"Host": b"127.0.0.1:9",
    b"Upgrade": b"websocket",
    b"Connection": b"Upgrade",
    b"Sec-WebSocket-Version": b"13",
    b"Sec-WebSocket-Key": KEY,
    b"Authorization": b"Bearer right",
}


def request(headers=GOOD, *, line=b"GET / HTTP/1.1", more=()):
    """The bytes of a request."""
    fields = [name + b": " + value for name, value in (*headers.items(), *more)]
    return b"\r\n".join([line, *fields, b"", b""])


def verdict(data, *, room=True):
    """What becomes of these bytes."""
    head = HeadReader().receive_data(data)
    assert head is not None
    if isinstance(head, Answer):
        return head.status
    wish = judge(head, check_token=lambda value: value == "Bearer right", room=room)
    return wish.status if isinstance(wish, Answer) else wish


def without(name):
    """A good handshake that lacks one header."""
    return {key: value for key, value in GOOD.items() if key != name}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (request(), Wish.LINK),
        (request({**GOOD, b"Connection": b"keep-alive, UPGRADE"}), Wish.LINK),
        (request({**GOOD, b"Upgrade": b"WebSocket"}), Wish.LINK),
        (request({**GOOD, b"Content-Length": b"0"}), Wish.LINK),
        (request(line=b"GET /?a=b HTTP/1.1"), Wish.LINK),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", Wish.HEALTH),
        (b"GET /health?verbose HTTP/1.0\r\n\r\n", Wish.HEALTH),
        (request({**GOOD, b"Origin": b"http://evil.example"}), HTTPStatus.FORBIDDEN),
        (request({**without(b"Authorization"), b"Origin": b"null"}), HTTPStatus.FORBIDDEN),
        (request(without(b"Authorization")), HTTPStatus.UNAUTHORIZED),
        (request({**GOOD, b"Authorization": b"Bearer wrong"}), HTTPStatus.UNAUTHORIZED),
        (request({**GOOD, b"Authorization": b"Bearer righ"}), HTTPStatus.UNAUTHORIZED),
        (request(more=[(b"Authorization", b"Bearer right")]), HTTPStatus.UNAUTHORIZED),
        (request({**without(b"Authorization")}, line=b"GET /nowhere HTTP/1.1"), HTTPStatus.UNAUTHORIZED),
        (request({**GOOD, b"Authorization": b"Bearer " + b"x" * 2**20}), HTTPStatus.UNAUTHORIZED),
        (request({**GOOD, b"X-Long": b"x" * 2**20}), HTTPStatus.UNAUTHORIZED),
        (request({b"Host": b"x", b"X": b"x" * 2**15}), HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
        (request(line=b"GET /nowhere HTTP/1.1"), HTTPStatus.NOT_FOUND),
        (request(line=b"POST / HTTP/1.1"), HTTPStatus.METHOD_NOT_ALLOWED),
        (b"POST /health HTTP/1.1\r\nHost: x\r\n\r\n", HTTPStatus.METHOD_NOT_ALLOWED),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n", HTTPStatus.NOT_FOUND),
        (request({**GOOD, b"Sec-WebSocket-Version": b"8"}), HTTPStatus.UPGRADE_REQUIRED),
        (request(without(b"Sec-WebSocket-Version")), HTTPStatus.UPGRADE_REQUIRED),
        (request(without(b"Sec-WebSocket-Key")), HTTPStatus.BAD_REQUEST),
        (request({**GOOD, b"Sec-WebSocket-Key": b"short"}), HTTPStatus.BAD_REQUEST),
        (request({**GOOD, b"Sec-WebSocket-Key": b"AAAA"}), HTTPStatus.BAD_REQUEST),
        (request(more=[(b"Sec-WebSocket-Key", KEY)]), HTTPStatus.BAD_REQUEST),
        (request(without(b"Connection")), HTTPStatus.BAD_REQUEST),
        (request(more=[(b"Connection", b"Upgrade")]), HTTPStatus.BAD_REQUEST),
        (request({**GOOD, b"Content-Length": b"5"}), HTTPStatus.BAD_REQUEST),
        (request({**GOOD, b"Transfer-Encoding": b"chunked"}), HTTPStatus.BAD_REQUEST),
        (request({**GOOD, b"X": b"\xff"}), HTTPStatus.BAD_REQUEST),
        (request() + b"\x82\x00", HTTPStatus.BAD_REQUEST),
        (request(line=b"GET / HTTP/1.0"), HTTPStatus.BAD_REQUEST),
        (request(without(b"Host")), HTTPStatus.BAD_REQUEST),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n", HTTPStatus.BAD_REQUEST),
    ],
)
def test_each_request_gets_what_it_deserves(data, expected):
    """Good, harmless, hostile and broken ones."""
    assert verdict(data) == expected


def test_without_room_a_good_request_is_told_to_come_back():
    """But only one that has shown its token."""
    assert verdict(request(), room=False) == HTTPStatus.SERVICE_UNAVAILABLE
    assert verdict(request(without(b"Authorization")), room=False) == HTTPStatus.UNAUTHORIZED
    assert verdict(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", room=False) is Wish.HEALTH


@given(st.lists(st.integers(0, 200), max_size=8))
@settings(max_examples=60)
def test_borders_between_chunks_do_not_matter(cuts):
    """Byte by byte or all at once."""
    data = request()
    borders = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(borders) if start < end]
    reader = HeadReader()
    *early, head = [reader.receive_data(piece) for piece in pieces]
    assert early == [None] * len(early)
    assert isinstance(head, RequestHead)
    assert head == HeadReader().receive_data(data)
    assert reader.raw == data


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_any_bytes_become_a_head_an_answer_or_a_wish_for_more(data):
    """Nothing else, and no exception."""
    outcome = HeadReader().receive_data(data + b"\r\n\r\n")
    assert outcome is None or isinstance(outcome, (RequestHead, Answer))


def test_what_is_collected_is_bounded():
    """A head that never ends is refused at its limit, however small its pieces."""
    reader = HeadReader()
    outcome = reader.receive_data(b"GET / HTTP/1.1\r\nX: ")
    while outcome is None:
        outcome = reader.receive_data(b"x" * 100)
    assert outcome.status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    assert len(reader.raw) <= MAX_HEAD_BYTES + 200


def test_an_end_of_stream_is_no_request():
    """Whether nothing was said or half a request."""
    assert isinstance(HeadReader().receive_data(b""), Answer)
    reader = HeadReader()
    assert reader.receive_data(b"GET / HT") is None
    assert isinstance(reader.receive_data(b""), Answer)


def test_answers_are_whole_http():
    """With their length, and the end of the connection."""
    assert refuse(HTTPStatus.UNAUTHORIZED).render() == (
        b"HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n"
        b"Connection: close\r\nWWW-Authenticate: Bearer\r\n\r\nUnauthorized\n"
    )
    assert b"\r\nRetry-After: 1\r\n" in refuse_for_room().render()
