"""PURE. The messages of the links, cut into frames and told as rows: what a browser's developer tools show.

Only so many frames a second are decoded, because a person looks at them: of a flood the rest is counted. What
looks like a secret is masked before it leaves this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
import orjson
from attrs import define, field

from hermes_trio.console.feed import Feed
from hermes_trio.console.masking import MASK, SECRET_NAME, mask_text
from hermes_trio.errors import RemoteProtocolError
from hermes_trio.wire.codec import FrameDecoder

MAX_FRAMES_PER_S: Final = 500
MAX_DECODED_CHARS: Final = 1500
MAX_PAYLOAD_CHARS: Final = 160
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""The links' own limits are narrower, and were checked."""


@define(eq=False)
class WireTap:
    """Makes rows of messages.

    Args:
        feed: where the rows go: moment, daemon, direction, type, bytes, call, decoded.
    """

    feed: Feed
    _second: int = field(default=0, init=False)
    _decoded: int = field(default=0, init=False)

    def take(self, daemon: str, is_sent: bool, message: bytes, *, now: float) -> None:
        """One message, whole. Never raises."""
        if int(now) != self._second:
            self._second, self._decoded = int(now), 0
        if self._decoded >= MAX_FRAMES_PER_S:
            self.feed.skip(1)
            return
        decoder = FrameDecoder(MAX_MESSAGE_BYTES)
        rest, taken = message, 0
        try:
            while frames := decoder.feed(rest, at_most=1):
                size, taken, rest = decoder.consumed_bytes - taken, decoder.consumed_bytes, b""
                self.feed.add(_row(daemon, is_sent, frames[0][1], size, now))
                self._decoded += 1
        except RemoteProtocolError as error:
            self.feed.add(
                [round(now, 3), daemon, _way(is_sent), "unreadable", len(message), None, str(error)]
            )


def _way(is_sent: bool) -> str:
    return "out" if is_sent else "in"


def _row(daemon: str, is_sent: bool, frame: Any, size: int, now: float) -> list[Any]:
    decoded = orjson.dumps(told(frame)).decode()
    return [
        round(now, 3),
        daemon,
        _way(is_sent),
        type(frame).__name__.lower(),
        size,
        getattr(frame, "call_id", None),
        decoded if len(decoded) <= MAX_DECODED_CHARS else f"{decoded[:MAX_DECODED_CHARS]}…",
    ]


def told(frame: Any) -> dict[str, Any]:
    """A frame as JSON values, without what is secret and without long payloads."""
    members = {each.name: getattr(frame, each.name) for each in attrs.fields(type(frame))}
    return {name: _masked(name, value) for name, value in members.items() if value not in (None, b"", (), "")}


def _masked(name: str, value: Any) -> Any:
    if SECRET_NAME.search(name) and value:
        return MASK
    if name == "environment" and isinstance(value, Mapping):
        return dict.fromkeys(map(str, value), MASK)
    match value:
        case str():
            return mask_text(value)
        case bytes() | bytearray() | memoryview():
            return _payload(bytes(value))
        case Mapping():
            return {str(key): _masked(str(key), inner) for key, inner in value.items()}
        case list() | tuple():
            return [_masked(name, inner) for inner in value]
        case _ if attrs.has(type(value)):
            return told(value)
        case _:
            return value


def _payload(data: bytes) -> str:
    text = mask_text(data[: 4 * MAX_PAYLOAD_CHARS].decode("utf-8", "replace"))
    return text if len(data) <= MAX_PAYLOAD_CHARS else f"{text[:MAX_PAYLOAD_CHARS]}… ({len(data)} bytes)"
