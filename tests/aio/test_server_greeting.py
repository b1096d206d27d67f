"""The first words on a link: a hello, alone, and in time."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from hermes_trio.errors import BrokenLinkError, RemoteProtocolError
from hermes_trio.testing.links import open_memory_links
from hermes_trio.wire.codec import encode_frame
from hermes_trio.wire.faults import PeerFault
from hermes_trio.wire.frames import Heartbeat, Hello, Limits, SessionId
from sandbox_daemon.server.greeting import HELLO_LIMIT_S, read_hello, say_why

BEAT = encode_frame(Heartbeat(nonce=1))


def hello(name: str = "s") -> bytes:
    """What a peer begins with."""
    made = Hello(protocol=1, session_id=SessionId(name), epoch=None, received=0, limits=Limits())
    return encode_frame(made)


async def read(*messages: bytes) -> Hello:
    """What the daemon makes of the first messages of a peer."""
    near, far = open_memory_links(buffered_messages=8)
    async with near, far:
        for message in messages:
            await far.send_message(message)
        return await read_hello(near, Limits())


@pytest.mark.parametrize("pieces", [1, 2, 7])
async def test_a_hello_may_come_in_pieces(pieces: int) -> None:
    """As long as it is whole in the end."""
    data = hello()
    size = -(-len(data) // pieces)
    assert (await read(*(data[at : at + size] for at in range(0, len(data), size)))).session_id == "s"


async def test_a_peer_that_says_nothing_is_let_go(autojump_clock: trio.testing.MockClock) -> None:
    """Or only the beginning of something."""
    for beginning in ((), (hello()[:-1],)):
        began = trio.current_time()
        with pytest.raises(BrokenLinkError, match="no hello within 10"):
            await read(*beginning)
        assert trio.current_time() - began == pytest.approx(HELLO_LIMIT_S)


@pytest.mark.parametrize("data", [BEAT, hello() + BEAT, hello() + b"\0", BEAT + hello()])
async def test_what_is_not_a_hello_alone_is_refused(data: bytes) -> None:
    """There is no session yet that anything else could belong to."""
    with pytest.raises(RemoteProtocolError, match="does not begin with a hello, alone"):
        await read(data)


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb", "é", "\x1b[31m"])
async def test_a_session_id_is_fit_for_a_log(name: str) -> None:
    """It stands in ours."""
    with pytest.raises(PeerFault, match="printable ASCII") as caught:
        await read(hello(name))
    assert caught.value.path == "hello.session_id"


async def test_whoever_is_refused_is_told_and_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    """A second, if it neither reads nor leaves; and one that has left is no fault of ours."""
    near, far = open_memory_links(buffered_messages=8)
    async with near, far:
        began = trio.current_time()
        await say_why(near, PeerFault("no", path="hello"))
        assert trio.current_time() - began == pytest.approx(1.0)
        assert b"no" in await far.receive_message()
        await far.aclose()
        await say_why(near, PeerFault("no", path="hello"))
