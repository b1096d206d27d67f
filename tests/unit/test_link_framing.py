"""Websocket frames written and read our way, against the library's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.frame_protocol import XorMaskerSimple

from hermes_trio.link import framing
from hermes_trio.link.framing import QuickDecoder, quicken, write_message

CLIENT, SERVER = ConnectionType.CLIENT, ConnectionType.SERVER
SIZES = (0, 1, 3, 125, 126, 127, 65_535, 65_536, 70_001)


class Parser:
    """As much of a `WSConnection` as a parser is, once it is open."""

    def __init__(self, role):
        self.connection = Connection(role)
        self.send = self.connection.send


def quick(role):
    """A connection whose parser is ours."""
    parser = Parser(role)
    quicken(parser)
    return parser


def read(connection, data, step):
    """The events that come of these bytes, fed in steps; pieces of a message joined."""
    events = []
    for start in range(0, len(data), step):
        connection.receive_data(data[start : start + step])
        events += connection.events()
    parts, messages = [], []
    for event in events:
        if not isinstance(event, BytesMessage):
            messages.append(event)
            continue
        parts.append(event.data)
        if event.message_finished:
            messages.append(b"".join(parts))
            parts = []
    assert not parts
    return messages


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("sender", "receiver"), [(CLIENT, SERVER), (SERVER, CLIENT)])
def test_the_library_reads_what_we_write(size, sender, receiver):
    """Masked and not, with lengths in all three forms."""
    payload = bytes(number % 251 for number in range(size))
    data = write_message(payload, masked=sender is CLIENT)
    assert read(Connection(receiver), data, len(data)) == [payload]


@given(
    st.lists(st.lists(st.sampled_from([b"", b"abc", b"defgh" * 50, bytes(range(256)) * 20]), min_size=1)),
    st.sampled_from([7, 4096, 1_000_000]),
    st.booleans(),
)
def test_we_read_what_the_library_writes(messages, step, up):
    """However messages are cut into frames and frames into reads, with control frames in between."""
    sender, receiver = (CLIENT, SERVER) if up else (SERVER, CLIENT)
    writer, wanted, data = Connection(sender), [], b""
    for parts in messages:
        for number, part in enumerate(parts):
            data += writer.send(BytesMessage(data=part, message_finished=number == len(parts) - 1))
        data += writer.send(Ping(payload=b"?"))
        wanted += [b"".join(parts), Ping(payload=b"?")]
    assert read(quick(receiver).connection, data, step) == wanted


def test_we_read_byte_by_byte():
    """A key turns with what of its frame has come."""
    wanted = [bytes(range(200)), b"", b"abcde"]
    data = b"".join(write_message(payload, masked=True) for payload in wanted)
    assert read(quick(SERVER).connection, data, 1) == wanted


def test_what_was_read_before_is_not_lost():
    """The first message may have come in the same read as the end of the handshake."""
    parser = Parser(SERVER)
    data = write_message(b"early", masked=True)
    parser.connection.receive_data(data[:7])
    quicken(parser)
    assert isinstance(parser.connection._proto._frame_decoder, QuickDecoder)
    assert read(parser.connection, data[7:], 100) == [b"early"]


def test_each_message_has_a_mask_of_its_own():
    """Somebody who chooses the bytes must not choose what travels (RFC 6455, 5.3)."""
    keys = {write_message(bytes(8), masked=True)[2:6] for _ in range(50)}
    assert len(keys) > 40
    for key in keys:
        assert key * 2 == bytes(XorMaskerSimple(key).process(bytearray(8)))


def test_all_but_whole_binary_messages_is_left_to_the_library():
    """Pieces, text and closing; and after a close nothing is written any more."""
    near, far = quick(CLIENT), quick(SERVER)
    first = near.send(BytesMessage(data=b"a", message_finished=False))
    rest = near.send(BytesMessage(data=b"b", message_finished=True))
    text = near.send(TextMessage(data="t"))
    close = near.send(CloseConnection(code=1000))
    assert read(far.connection, bytes(first + rest), 100) == [b"ab"]
    [event] = read(far.connection, bytes(text), 100)
    assert event.data == "t"
    with pytest.raises(Exception, match="cannot be sent"):
        near.send(BytesMessage(data=b"late"))
    [event] = read(far.connection, bytes(close), 100)
    assert event.code == 1000


@pytest.mark.parametrize("size", SIZES)
def test_without_the_package_the_library_masks(size):
    """Slower, and the same."""
    data, key = bytes(size), b"\x01\x02\x03\x04"
    assert framing.apply_mask_plainly(data, key) == framing.apply_mask(data, key)
