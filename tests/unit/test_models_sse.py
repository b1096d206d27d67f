"""Server-sent events, whole and cut at every byte."""

from __future__ import annotations

import collections

import pytest

from hermes_trio.models.sse import EventTooLong, SseDecoder

CASES = {
    "one": (b"data: a\n\n", ["a"]),
    "no space": (b"data:a\n\n", ["a"]),
    "two spaces": (b"data:  a\n\n", [" a"]),
    "crlf": (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
    "cr": (b"data: a\r\rdata: b\r\r", ["a", "b"]),
    "mixed": (b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", ["a", "b", "c"]),
    "several lines": (b"data: a\ndata: b\ndata\n\n", ["a\nb\n"]),
    "comments": (b": OPENROUTER PROCESSING\n\n:\ndata: a\n: x\ndata: b\n\n", ["a\nb"]),
    "other fields": (b"event: error\nid: 1\nretry: 5\ndata: a\nnonsense\n\n", ["a"]),
    "no data": (b"event: ping\n\n\n\n", []),
    "bom": (b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", ["a"]),
    "unicode": ("data: ü€😀\n\n".encode(), ["ü€😀"]),
    "not unicode": (b"data: \xff\n\n", ["\ufffd"]),
    "done": (b'data: {"a": 1}\n\ndata: [DONE]\n\n', ['{"a": 1}', "[DONE]"]),
}


@pytest.mark.parametrize("name", CASES)
def test_events_whole(name: str) -> None:
    """In one piece."""
    data, events = CASES[name]
    assert list(SseDecoder().feed(data)) == events


@pytest.mark.parametrize("name", CASES)
def test_events_cut_anywhere(name: str) -> None:
    """In any two pieces, and byte by byte."""
    data, events = CASES[name]
    for cut in range(len(data) + 1):
        decoder = SseDecoder()
        assert [*decoder.feed(data[:cut]), *decoder.feed(data[cut:])] == events
    decoder = SseDecoder()
    assert [event for at in range(len(data)) for event in decoder.feed(data[at : at + 1])] == events


@pytest.mark.parametrize("rest", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE]\r"])
def test_an_event_that_nothing_ended_is_given_at_the_end(rest: bytes) -> None:
    """Some servers close without the empty line."""
    decoder = SseDecoder()
    assert decoder.feed(rest) == ()
    assert decoder.finish() == ("[DONE]",)
    assert SseDecoder().finish() == ()


@pytest.mark.parametrize(
    "data", [b"data: " + b"x" * 100, b"data: x\n" * 20, b"\ndata\n" + b"event: e\n" * 20]
)
def test_an_event_may_not_grow_without_end(data: bytes) -> None:
    """Neither by a line nor by lines, in whatever pieces."""
    with pytest.raises(EventTooLong):
        SseDecoder(max_event_bytes=60).feed(data)
    decoder = SseDecoder(max_event_bytes=60)
    with pytest.raises(EventTooLong):
        collections.deque((decoder.feed(data[at : at + 1]) for at in range(len(data))), maxlen=0)


def test_comments_and_many_events_are_no_long_event() -> None:
    """A server may keep a connection alive for hours."""
    decoder = SseDecoder(max_event_bytes=20)
    for _ in range(100):
        assert decoder.feed(b": keep-alive\n") == ()
        assert decoder.feed(b"\n") == ()
    assert decoder.feed(b"data: abc\n\n" * 50) == ("abc",) * 50
