"""Any frame survives the wire, however its bytes are cut."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_trio.errors import Provenance
from hermes_trio.wire import frames as f
from hermes_trio.wire.codec import FrameDecoder, encode_frame
from hermes_trio.wire.ranges import MAX_INTEGER

pytestmark = pytest.mark.slow

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
count = st.integers(0, MAX_INTEGER)
positive = st.integers(1, MAX_INTEGER)
payload = st.binary(max_size=64)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
objects: st.SearchStrategy[dict[str, Any]] = st.dictionaries(text, values, max_size=4)
limits = st.builds(
    f.Limits, max_message_bytes=positive, max_calls=positive, window_frames=positive, window_bytes=positive
)
leases = st.builds(f.Lease, slot=text, epoch=count)
features = st.lists(text, max_size=3).map(tuple)
traceparents = st.builds(
    "00-{:032x}-{:016x}-{:02x}".format,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.integers(0, 255),
)
seconds = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False)


@st.composite
def results(draw: st.DrawFn) -> f.Result:
    """Segments add up to the payload, or there are none."""
    parts = draw(st.lists(payload, max_size=3))
    whole = b"".join(parts)
    segments = draw(st.sampled_from([(), tuple(map(len, parts))]))
    provenance = draw(st.sampled_from(Provenance))
    return f.Result(
        call_id=draw(positive),
        provenance=provenance,
        error=draw(text),
        data=draw(objects),
        segments=segments,
        payload=whole,
    )


BY_TYPE: dict[type, st.SearchStrategy[Any]] = {
    f.Hello: st.builds(
        f.Hello,
        protocol=count,
        session_id=text,
        epoch=st.none() | count,
        received=count,
        limits=limits,
        features=features,
        incarnation=count,
        token=st.none() | text,
    ),
    f.Welcome: st.builds(
        f.Welcome,
        protocol=count,
        session_id=text,
        epoch=count,
        resumed=st.booleans(),
        received=count,
        limits=limits,
        features=features,
        slots=count,
        isolation=objects,
    ),
    f.Ack: st.builds(f.Ack, received=count),
    f.Heartbeat: st.builds(f.Heartbeat, nonce=count, echo=st.booleans()),
    f.Goodbye: st.builds(f.Goodbye, reason=text),
    f.Error: st.builds(f.Error, code=st.sampled_from(f.ErrorCode), message=text, detail=objects),
    f.Call: st.builds(
        f.Call,
        call_id=positive,
        operation=text,
        arguments=objects,
        lease=st.none() | leases,
        trajectory_id=text,
        limit_s=st.none() | seconds,
        output_credit=count,
        again=st.booleans(),
        traceparent=st.none() | traceparents,
        payload=payload,
    ),
    f.Cancel: st.builds(f.Cancel, call_id=positive, reason=text),
    f.Input: st.builds(f.Input, call_id=positive, offset=count, eof=st.booleans(), payload=payload),
    f.Credit: st.builds(f.Credit, call_id=positive, limit_bytes=count),
    f.Accepted: st.builds(f.Accepted, call_id=positive, input_credit=count),
    f.Output: st.builds(
        f.Output, call_id=positive, stream=st.sampled_from(f.Stream), offset=count, payload=payload
    ),
    f.Result: results(),
    f.LeaseLost: st.builds(f.LeaseLost, lease=leases, reason=text),
    f.Drain: st.builds(f.Drain, grace_s=st.just(0.0) | seconds),
}
SEQUENCED = get_args(f.SessionFrame)


@st.composite
def numbered(draw: st.DrawFn) -> tuple[int | None, f.Frame]:
    """A frame, with a number if it is a session frame."""
    frame = draw(st.one_of(*BY_TYPE.values()))
    return (draw(positive) if isinstance(frame, SEQUENCED) else None), frame


def test_every_frame_type_is_generated() -> None:
    """Nobody adds a frame without adding it here."""
    assert set(BY_TYPE) == set(get_args(f.Frame))


@given(frames=st.lists(numbered(), max_size=4), data=st.data())
@settings(max_examples=150, deadline=None)
def test_frames_survive_the_wire_however_the_bytes_are_cut(
    frames: list[tuple[int | None, f.Frame]], data: st.DataObject
) -> None:
    """Equal, in order, and of the same types."""
    stream = b"".join(encode_frame(frame, sequence=sequence) for sequence, frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8), label="cuts"))
    decoder = FrameDecoder(1 << 20)
    read = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        read += decoder.feed(stream[start:end])
    assert read == frames
    assert [type(frame) for _, frame in read] == [type(frame) for _, frame in frames]
    assert decoder.leftover == b""
