"""The wire inspector: frames of both directions as rows, and no secret in any of them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from hermes_trio.console.feed import Feed
from hermes_trio.console.masking import MASK
from hermes_trio.console.wiretap import MAX_FRAMES_PER_S, WireTap, told
from hermes_trio.errors import Provenance
from hermes_trio.wire.codec import encode_frame
from hermes_trio.wire.frames import (
    Call,
    CallId,
    Frame,
    Heartbeat,
    Hello,
    Lease,
    Limits,
    Result,
    SessionId,
    SlotId,
)


def _call(command: str = "ls", **arguments: Any) -> Call:
    return Call(
        call_id=CallId(3),
        operation="bash",
        arguments={"command": command, **arguments},
        lease=Lease(slot=SlotId("s"), epoch=1),
        payload=b"stdin \xff",
    )


def _rows(*messages: bytes, now: float = 1.0) -> list[list[Any]]:
    feed = Feed()
    tap = WireTap(feed)
    for message in messages:
        tap.take("d", True, message, now=now)
    return feed.since(0, 10_000)


def test_a_message_is_cut_into_its_frames() -> None:
    """Each with its size, so that they add up."""
    message = encode_frame(Heartbeat(nonce=1)) + encode_frame(_call(), sequence=1)
    first, second = _rows(message)
    assert first[1:5] == [1.0, "d", "out", "heartbeat"]
    assert second[4] == "call"
    assert second[6] == 3
    assert first[5] + second[5] == len(message)
    decoded = orjson.loads(second[7])
    assert decoded["arguments"] == {"command": "ls"}
    assert decoded["lease"] == {"slot": "s", "epoch": 1}
    assert decoded["payload"] == "stdin \ufffd"


def test_what_cannot_be_read_is_told_and_not_raised() -> None:
    """The link's own reader deals with it."""
    (row,) = _rows(b"\xff" * 40)
    assert row[4] == "unreadable"


def test_a_flood_is_counted_and_not_decoded() -> None:
    """So many frames a second are for people; a new second begins anew."""
    feed = Feed()
    tap = WireTap(feed)
    beat = encode_frame(Heartbeat(nonce=1))
    for _ in range(MAX_FRAMES_PER_S + 100):
        tap.take("d", False, beat, now=5.0)
    assert (feed.last, len(feed.since(0, 10_000))) == (MAX_FRAMES_PER_S + 100, MAX_FRAMES_PER_S)
    tap.take("d", False, beat, now=6.0)
    assert feed.since(feed.last - 1, 1)[0][3] == "in"


@pytest.mark.parametrize(
    "frame",
    [
        Hello(
            protocol=1,
            session_id=SessionId("hunter2"),
            epoch=None,
            received=0,
            limits=Limits(),
            token="hunter2",
        ),
        _call("curl -H 'Authorization: Bearer hunter2' x"),
        _call("export API_KEY=hunter2; run"),
        _call("deploy --password 'x' --token=hunter2"),
        _call("env", environment={"DB": "hunter2"}),
        _call("env", nested=[{"client_secret": "hunter2"}]),
        Result(call_id=CallId(1), provenance=Provenance.OK, payload=b"token: hunter2 rest"),
    ],
)
def test_secrets_are_masked(frame: Frame) -> None:
    """By the names of members, and by what stands before them in texts."""
    text = orjson.dumps(told(frame)).decode()
    assert "hunter2" not in text
    assert MASK in text


def test_long_payloads_are_cut() -> None:
    """Their size is told."""
    frame = Result(call_id=CallId(1), provenance=Provenance.OK, payload=b"a" * 5000)
    assert told(frame)["payload"].endswith("… (5000 bytes)")
    (row,) = _rows(encode_frame(_call("y" * 9000), sequence=1))
    assert len(row[7]) == 1501
