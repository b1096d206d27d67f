"""Messages in pieces."""

from hypothesis import given
from hypothesis import strategies as st
from wsproto.events import BytesMessage, Ping, TextMessage

from hermes_trio.link.fragments import CHUNK_BYTES, FragmentJoiner


def piece(data, *, last=False):
    """One piece of a message."""
    return BytesMessage(data=data, message_finished=last)


def collect(events):
    """The messages that come out, as the websocket library puts them together."""
    messages, parts = [], []
    for event in events:
        parts.append(event.data)
        if event.message_finished:
            messages.append(b"".join(parts))
            parts = []
    return messages


@given(
    st.lists(st.lists(st.sampled_from([b"", b"x", b"yz" * 20_000, bytes(70_000)]), min_size=1), max_size=5)
)
def test_messages_come_out_as_they_went_in(messages):
    """Whatever they were cut into."""
    joiner = FragmentJoiner()
    events = [
        piece(part, last=number == len(parts) - 1) for parts in messages for number, part in enumerate(parts)
    ]
    assert collect(joiner.join(events)) == [b"".join(parts) for parts in messages]


def test_a_whole_message_is_not_copied():
    """The usual case costs nothing."""
    whole, large = piece(b"whole", last=True), piece(bytes(CHUNK_BYTES))
    assert next(FragmentJoiner().join([whole])) is whole
    assert next(FragmentJoiner().join([large])) is large


def test_pieces_of_nothing_are_nothing():
    """A million of them are no event at all."""
    joiner = FragmentJoiner()
    assert list(joiner.join(piece(b"") for _ in range(10_000))) == []


def test_small_pieces_become_large_ones():
    """So that their number is bounded by the bytes."""
    joiner = FragmentJoiner()
    events = list(joiner.join(piece(b"ab") for _ in range(CHUNK_BYTES)))
    assert [len(event.data) for event in events] == [CHUNK_BYTES, CHUNK_BYTES]


def test_control_frames_pass_between_pieces():
    """At once, and in their place."""
    joiner = FragmentJoiner()
    ping = Ping(payload=b"now")
    assert list(joiner.join([piece(b"a"), ping, piece(b"b", last=True)])) == [ping, piece(b"ab", last=True)]


def test_text_is_not_kept():
    """It will be refused anyway."""
    events = list(FragmentJoiner().join([TextMessage(data="x" * 1000, message_finished=False)]))
    assert events == [TextMessage(data="")]
