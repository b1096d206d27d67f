"""The first words on a link, before there is a session to speak of."""

from __future__ import annotations

from contextlib import suppress

import trio

from hermes_trio.errors import BrokenLinkError, RemoteProtocolError
from hermes_trio.link.message import MessageLink
from hermes_trio.wire.codec import FrameDecoder, encode_frame
from hermes_trio.wire.faults import PeerFault, error_of
from hermes_trio.wire.frames import Frame, Hello, Limits

HELLO_LIMIT_S = 10.0
"""A peer that connects and says nothing is let go."""
MAX_SESSION_ID = 128


async def read_hello(link: MessageLink, limits: Limits) -> Hello:
    """The peer's first frame. Nothing may follow it before our welcome.

    Cancellation: abandons the link.

    Raises:
        BrokenLinkError: it ended, or said nothing in time.
        RemoteProtocolError: it said something else.
    """
    decoder = FrameDecoder(limits.max_message_bytes)
    frames: list[tuple[int | None, Frame]] = []
    with trio.move_on_after(HELLO_LIMIT_S):
        await trio.lowlevel.checkpoint()
        while not frames:
            frames = decoder.feed(await link.receive_message(), at_most=1)
    match frames:
        case [(None, Hello() as hello)] if not decoder.leftover:
            return _checked(hello)
        case []:
            raise BrokenLinkError(f"no hello within {HELLO_LIMIT_S} s")
        case _:
            raise RemoteProtocolError("the link does not begin with a hello, alone")


def _checked(hello: Hello) -> Hello:
    """A session id stands in logs and is a key of ours."""
    name = hello.session_id
    if 0 < len(name) <= MAX_SESSION_ID and name.isascii() and name.isprintable():
        return hello
    raise PeerFault(f"must be 1 to {MAX_SESSION_ID} printable ASCII characters", path="hello.session_id")


async def say_why(link: MessageLink, fault: RemoteProtocolError) -> None:
    """Tell a refused peer the reason, and wait a moment for it to read that and close.

    Cancellation: poisons the link.
    """
    await trio.lowlevel.checkpoint()
    with suppress(BrokenLinkError), trio.move_on_after(1.0):
        await link.send_message(encode_frame(error_of(fault)))
        await link.receive_message()
