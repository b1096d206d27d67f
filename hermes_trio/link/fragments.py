"""PURE: keeps a message in a million pieces from costing a million objects.

The websocket library keeps every piece of a message in a list until the last one comes, and counts only
their bytes. A peer may send pieces of no bytes for ever (RFC 6455, 5.4 allows them), or 4 MiB in pieces of
two bytes, which as Python objects are 90 MiB. Joined on the way, the pieces of a message cost its bytes and
one chunk more.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import final

from wsproto.events import BytesMessage, Event, TextMessage

CHUNK_BYTES = 64 * 1024
"""Pieces are joined up to this size before they are handed on."""


@final
class FragmentJoiner:
    """Stands between the websocket's parser and whoever collects its events. One for each connection."""

    def __init__(self) -> None:
        self._held = bytearray()

    def join(self, events: Iterable[Event]) -> Generator[Event, None, None]:
        """The same events, with the pieces of binary messages joined.

        Text is not for this protocol, so none of it is kept: each piece becomes an empty text message, which
        the link refuses.
        """
        for event in events:
            match event:
                case BytesMessage():
                    if (joined := self._add(event)) is not None:
                        yield joined
                case TextMessage():
                    yield TextMessage(data="")
                case _:
                    yield event

    def _add(self, piece: BytesMessage) -> BytesMessage | None:
        if not self._held and (piece.message_finished or len(piece.data) >= CHUNK_BYTES):
            return piece  # nearly always: one message, one piece, no copy
        self._held += piece.data
        if not piece.message_finished and len(self._held) < CHUNK_BYTES:
            return None
        data, self._held = bytes(self._held), bytearray()
        return BytesMessage(data=data, message_finished=piece.message_finished)
