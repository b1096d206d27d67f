"""Message links that live in memory: the websocket link's twin for tests on a virtual clock.

The twin keeps the whole contract of :class:`~hermes_trio.link.message.MessageLink`, poison included, and is
held to it by the same suite (``link_conformance.py``). What it does not imitate: the kernel's buffers (a
message is either with the sender, among the ``buffered_messages``, or with the receiver) and the bytes of
the websocket itself.
"""

from __future__ import annotations

from typing import final

import trio

from hermes_trio.errors import BrokenLinkError
from hermes_trio.link.message import RuledLink


@final
class _Lane:
    """One direction. Ends once; what was sent before the end can still be received, unless it is lost."""

    def __init__(self, buffered_messages: int) -> None:
        self.sender, self.receiver = trio.open_memory_channel[bytes](buffered_messages)
        self.why = "the peer ended the link"

    def end(self, why: str) -> None:
        """No more messages; the receiver gets those that are there."""
        self.why = why
        self.sender.close()

    def lose(self, why: str) -> None:
        """No more messages, and none of those on the way."""
        self.end(why)
        self.receiver.close()


@final
class MemoryLink(RuledLink):
    """One end of :func:`open_memory_links`."""

    def __init__(self, outward: _Lane, inward: _Lane, *, label: str, max_message_bytes: int) -> None:
        super().__init__(label=label, close_timeout=1.0)
        self._outward = outward
        self._inward = inward
        self._max_message_bytes = max_message_bytes

    def break_link(self, why: str = "the link was broken by the test") -> None:
        """Cut the wire: both sides get ``BrokenLinkError`` from now on, and messages on the way are lost."""
        self._outward.lose(why)
        self._inward.lose(why)

    async def _transmit(self, data: bytes) -> None:
        if len(data) > self._max_message_bytes:
            await trio.lowlevel.checkpoint()
            self._outward.end(f"a message was larger than {self._max_message_bytes} bytes")
            self._inward.end("the peer refused a message that was too big")
            return  # as over a network: who sends learns of it from what follows
        try:
            await self._outward.sender.send(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise self._broken(self._outward) from error

    async def _take(self) -> bytes:
        try:
            return await self._inward.receiver.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError) as error:
            raise self._broken(self._inward) from error

    async def _part(self) -> None:
        await trio.lowlevel.checkpoint()

    def _drop(self) -> None:
        self._outward.end("the peer ended the link")
        self._inward.lose("the peer ended the link")

    def _broken(self, lane: _Lane) -> BrokenLinkError:
        return BrokenLinkError(f"the link {self._label} ended: {lane.why}")


def open_memory_links(
    *, max_message_bytes: int = 4 * 1024 * 1024, buffered_messages: int = 1
) -> tuple[MemoryLink, MemoryLink]:
    """Make both ends of a link.

    Args:
        max_message_bytes: what either end takes in one message; a larger one breaks the link.
        buffered_messages: messages that may be on the way in each direction before a sender waits.

    Returns:
        Two ends; what goes in at one comes out at the other.
    """
    there, back = _Lane(buffered_messages), _Lane(buffered_messages)
    return (
        MemoryLink(there, back, label="memory:near", max_message_bytes=max_message_bytes),
        MemoryLink(back, there, label="memory:far", max_message_bytes=max_message_bytes),
    )
