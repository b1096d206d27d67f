"""The codec: table cases in both directions, chunking, and what is refused with which path."""

import struct
from collections.abc import Mapping
from types import MappingProxyType

import attrs
import orjson
import pytest

from hermes_trio.errors import InvalidInputError, LocalProtocolError, Provenance, RemoteProtocolError
from hermes_trio.wire import frames as f
from hermes_trio.wire.codec import (
    MAX_HEADER_BYTES,
    FrameDecoder,
    decode_frame,
    encode_frame,
    ensure_json,
    structure_arguments,
    unstructure,
)
from hermes_trio.wire.faults import PeerFault, error_of
from hermes_trio.wire.headers import MAX_DEPTH
from hermes_trio.wire.operations import BashArguments, BashReport, ReadFileArguments

BIG = 1 << 22
ONE = f.CallId(1)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

CASES: list[tuple[int | None, f.Frame, str, bytes]] = [
    (None, f.Ack(received=3), '{"type":"ack","received":3}', b""),
    (
        None,
        f.Hello(
            protocol=1,
            session_id=f.SessionId("s"),
            epoch=None,
            received=0,
            limits=f.Limits(max_calls=7),
            token="t",
        ),
        '{"type":"hello","protocol":1,"session_id":"s","epoch":null,"received":0,'
        '"limits":{"max_message_bytes":4194304,"max_calls":7,"window_frames":8192,"window_bytes":16777216},'
        '"token":"t"}',
        b"",
    ),
    (
        None,
        f.Welcome(
            protocol=1,
            session_id=f.SessionId("s"),
            epoch=f.Epoch(4),
            resumed=True,
            received=9,
            limits=f.Limits(),
            features=("bash", "read_file"),
            slots=2,
            isolation={"level": "ns"},
        ),
        '{"type":"welcome","protocol":1,"session_id":"s","epoch":4,"resumed":true,"received":9,'
        '"limits":{"max_message_bytes":4194304,"max_calls":4096,"window_frames":8192,"window_bytes":16777216},'
        '"slots":2,"features":["bash","read_file"],"isolation":{"level":"ns"}}',
        b"",
    ),
    (None, f.Heartbeat(nonce=5), '{"type":"heartbeat","nonce":5}', b""),
    (None, f.Heartbeat(nonce=5, echo=True), '{"type":"heartbeat","nonce":5,"echo":true}', b""),
    (None, f.Goodbye(), '{"type":"goodbye"}', b""),
    (
        None,
        f.Error(code=f.ErrorCode.BUSY, message="full", detail={"sessions": 3}),
        '{"type":"error","code":"busy","message":"full","detail":{"sessions":3}}',
        b"",
    ),
    (
        1,
        f.Call(
            call_id=ONE,
            operation="bash",
            arguments={"command": "ls", "nested": [1, {"a": None}]},
            lease=f.Lease(slot=f.SlotId("slot-1"), epoch=3),
            trajectory_id="t-1",
            limit_s=1.5,
            output_credit=10,
            traceparent=TRACEPARENT,
            payload=b"stdin",
        ),
        '{"type":"call","seq":1,"call_id":1,"operation":"bash",'
        '"arguments":{"command":"ls","nested":[1,{"a":null}]},"lease":{"slot":"slot-1","epoch":3},'
        f'"trajectory_id":"t-1","limit_s":1.5,"output_credit":10,"traceparent":"{TRACEPARENT}"}}',
        b"stdin",
    ),
    (
        2,
        f.Cancel(call_id=ONE, reason="limit"),
        '{"type":"cancel","seq":2,"call_id":1,"reason":"limit"}',
        b"",
    ),
    (
        3,
        f.Input(call_id=ONE, offset=0, eof=True, payload=b"\x00\xff"),
        '{"type":"input","seq":3,"call_id":1,"offset":0,"eof":true}',
        b"\x00\xff",
    ),
    (
        4,
        f.Credit(call_id=ONE, limit_bytes=9),
        '{"type":"credit","seq":4,"call_id":1,"limit_bytes":9}',
        b"",
    ),
    (5, f.Accepted(call_id=ONE), '{"type":"accepted","seq":5,"call_id":1}', b""),
    (
        6,
        f.Output(call_id=ONE, stream=f.Stream.STDERR, offset=2, payload=b"x"),
        '{"type":"output","seq":6,"call_id":1,"stream":"stderr","offset":2}',
        b"x",
    ),
    (
        7,
        f.Result(call_id=ONE, provenance=Provenance.OK, data={"a": 1}, segments=(1, 2), payload=b"abc"),
        '{"type":"result","seq":7,"call_id":1,"provenance":"ok","data":{"a":1},"segments":[1,2]}',
        b"abc",
    ),
    (
        8,
        f.LeaseLost(lease=f.Lease(slot=f.SlotId("s"), epoch=0), reason="dead"),
        '{"type":"lease_lost","seq":8,"lease":{"slot":"s","epoch":0},"reason":"dead"}',
        b"",
    ),
    (9, f.Drain(grace_s=0.0), '{"type":"drain","seq":9,"grace_s":0.0}', b""),
]


def wrap(header: bytes, payload: bytes = b"") -> bytes:
    """Put the lengths in front, by hand."""
    return struct.pack(">II", len(header), len(payload)) + header + payload


STREAM = b"".join(wrap(header.encode(), payload) for _, _, header, payload in CASES)
FRAMES = [(sequence, frame) for sequence, frame, _, _ in CASES]


@pytest.mark.parametrize(("sequence", "frame", "header", "payload"), CASES)
def test_each_frame_is_written_as_its_case_says(
    sequence: int | None, frame: f.Frame, header: str, payload: bytes
) -> None:
    """What is put on the wire is fixed to the byte."""
    assert encode_frame(frame, sequence=sequence) == wrap(header.encode(), payload)


@pytest.mark.parametrize(("sequence", "frame", "header", "payload"), CASES)
def test_each_frame_is_read_back_from_its_case(
    sequence: int | None, frame: f.Frame, header: str, payload: bytes
) -> None:
    """The same table, the other way."""
    read = decode_frame(header.encode(), payload)
    assert read == (sequence, frame)
    assert type(read[1]) is type(frame)


def test_every_frame_class_has_a_case() -> None:
    """Nobody adds a frame without fixing its bytes here."""
    assert {type(frame) for _, frame in FRAMES} == set(f.Frame.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 50, len(STREAM)])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_frames_do_not_depend_on_how_the_bytes_are_cut(size: int, kind: type) -> None:
    """Whole, byte by byte, in pieces; as any kind of bytes."""
    decoder = FrameDecoder(BIG)
    read = []
    for start in range(0, len(STREAM), size):
        read += decoder.feed(kind(STREAM[start : start + size]))
    assert read == FRAMES
    assert decoder.leftover == b""
    assert decoder.consumed_bytes == len(STREAM)


@pytest.mark.parametrize("cut", [1, 8, 20])
def test_trailing_data_waits_for_its_rest(cut: int) -> None:
    """A frame that is not complete is left over, and no frame."""
    decoder = FrameDecoder(BIG)
    assert decoder.feed(STREAM + STREAM[:cut]) == FRAMES
    assert decoder.leftover == STREAM[:cut]
    assert decoder.feed(STREAM[cut:]) == FRAMES
    assert repr(decoder) == f"<FrameDecoder 0 bytes waiting, {2 * len(STREAM)} consumed>"


def test_a_reader_of_one_frame_leaves_the_rest() -> None:
    """The daemon reads the hello alone and hands the rest to the session."""
    decoder = FrameDecoder(BIG)
    first = wrap(CASES[0][2].encode())
    assert decoder.feed(STREAM, at_most=1) == FRAMES[:1]
    assert decoder.leftover == STREAM[len(first) :]


def test_good_frames_are_returned_before_a_bad_one_raises() -> None:
    """A result in front of garbage is not lost."""
    decoder = FrameDecoder(BIG)
    assert decoder.feed(STREAM + wrap(b"{}")) == FRAMES
    assert decoder.error is not None
    for more in (b"", STREAM):
        with pytest.raises(RemoteProtocolError, match="no known frame"):
            decoder.feed(more)


@pytest.mark.parametrize(
    ("header_bytes", "payload_bytes", "limit"),
    [(10, 100, 117), (MAX_HEADER_BYTES + 1, 0, 1 << 30), (2**32 - 1, 2**32 - 1, BIG)],
)
def test_a_frame_that_is_too_large_is_refused_from_its_prefix(
    header_bytes: int, payload_bytes: int, limit: int
) -> None:
    """Nothing of it is buffered first."""
    with pytest.raises(PeerFault, match="too large") as caught:
        FrameDecoder(limit).feed(struct.pack(">II", header_bytes, payload_bytes))
    assert caught.value.code is f.ErrorCode.TOO_LARGE


def test_a_frame_of_exactly_the_limit_is_taken() -> None:
    """The limit counts the prefix, and is included."""
    data = encode_frame(f.Output(call_id=ONE, stream=f.Stream.DATA, offset=0, payload=b"x" * 99), sequence=1)
    assert len(FrameDecoder(len(data)).feed(data)) == 1
    with pytest.raises(RemoteProtocolError):
        FrameDecoder(len(data) - 1).feed(data)


CALL = '"type":"call","seq":1,"operation":"x","arguments":{}'
HELLO = '"type":"hello","protocol":1,"session_id":"x","epoch":null,"received":0'

REFUSED = [
    ("", "", "no JSON"),
    ("nonsense", "", "no JSON"),
    ('{"type":"goodbye","reason":"\ud800"}', "", "no JSON"),
    ('{"type":"goodbye","reason":"\\ud800"}', "", "no JSON"),
    ('{"type":"drain","seq":1,"grace_s":NaN}', "", "no JSON"),
    ('{"type":"drain","seq":1,"grace_s":1e999}', "", "no JSON"),
    ("[" * 3000, "", "no JSON"),
    ("[]", "", "a list, not an object"),
    ("null", "", "null, not an object"),
    ("{}", "type", "null"),
    ('{"type":3}', "type", "an integer"),
    ('{"type":"nope"}', "type", "'nope'"),
    ('{"type":"ack"}', "ack.received", "is missing"),
    ('{"type":"ack","received":null}', "ack.received", "not null"),
    ('{"type":"ack","received":true}', "ack.received", "not a boolean"),
    ('{"type":"ack","received":"9"}', "ack.received", "not text"),
    ('{"type":"ack","received":1.0}', "ack.received", "not a number with a fraction"),
    ('{"type":"ack","received":-1}', "ack.received", "between 0 and"),
    ('{"type":"ack","received":9007199254740992}', "ack.received", "between 0 and"),
    ('{"type":"ack","received":123456789012345678901234567890}', "ack.received", "must be an integer"),
    ('{"type":"ack","received":1,"later":2,"extra":3}', "ack.extra", "unknown field"),
    ('{"type":"ack","received":1,"seq":1}', "ack.seq", "unknown field"),
    ('{"type":"ack","received":1,"received":1}', "", "two members of one name"),
    ('{"type":"ack","received":1,"r\\u0065ceived":1}', "", "two members of one name"),
    ('{"type":"goodbye","reason":"","reason":"\\u003a"}', "", "two members of one name"),
    ('{"type":"goodbye","reason":{"a":{"b":1,"b":2}}}', "", "two members of one name"),
    ('{"type":"ack","received":' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}", "", "nested deeper"),
    ('{"type":"heartbeat","nonce":1,"echo":1}', "heartbeat.echo", "must be true or false"),
    ('{"type":"goodbye","reason":7}', "goodbye.reason", "must be text"),
    ('{"type":"error","code":"bad","message":""}', "error.code", "must be one of protocol, version"),
    ('{"type":"error","code":1,"message":""}', "error.code", "must be one of"),
    ("{" + HELLO + "}", "hello.limits", "is missing"),
    ("{" + HELLO + ',"limits":[]}', "hello.limits", "must be an object, not a list"),
    ("{" + HELLO + ',"limits":{"max_calls":0}}', "hello.limits.max_calls", "between 1 and"),
    ("{" + HELLO + ',"limits":{"a":0}}', "hello.limits.a", "unknown field"),
    ("{" + HELLO + ',"limits":{},"features":"abc"}', "hello.features", "must be a list"),
    ("{" + HELLO + ',"limits":{},"features":["a",1]}', "hello.features", "item 1 must be text"),
    ("{" + CALL + "}", "call.call_id", "is missing"),
    ("{" + CALL + ',"call_id":0}', "call.call_id", "between 1 and"),
    ("{" + CALL + ',"call_id":1,"limit_s":0}', "call.limit_s", "greater than 0"),
    ("{" + CALL + ',"call_id":1,"limit_s":-1.5}', "call.limit_s", "greater than 0"),
    ("{" + CALL + ',"call_id":1,"limit_s":true}', "call.limit_s", "must be a finite number"),
    ("{" + CALL + ',"call_id":1,"lease":{"slot":"s","epoch":"1"}}', "call.lease.epoch", "an integer"),
    ("{" + CALL + ',"call_id":1,"payload":"abc"}', "call.payload", "behind the header"),
    *(
        ("{" + CALL + f',"call_id":1,"traceparent":{told}}}', "call.traceparent", why)
        for told, why in (
            ("7", "must be text, not an integer"),
            ('""', "must be a W3C traceparent"),
            (f'"{TRACEPARENT.upper()}"', "must be a W3C traceparent"),
            (f'"{TRACEPARENT}\\n"', "must be a W3C traceparent"),
            (f'"{TRACEPARENT}{TRACEPARENT * 1000}"', "must be a W3C traceparent"),
            (f'"01{TRACEPARENT[2:]}"', "must be a W3C traceparent"),
            (f'"00-{"0" * 32}-b7ad6b7169203331-01"', "must be a W3C traceparent"),
            (f'"00-{"a" * 32}-{"0" * 16}-01"', "must be a W3C traceparent"),
        )
    ),
    (
        '{"type":"call","seq":1,"call_id":1,"operation":"x","arguments":[]}',
        "call.arguments",
        "must be an object",
    ),
    ('{"type":"drain","grace_s":1}', "drain.seq", "must be an integer, not null"),
    ('{"type":"drain","seq":0,"grace_s":1}', "drain.seq", "between 1 and"),
    ('{"type":"drain","seq":1,"grace_s":-1}', "drain.grace_s", "must not be negative"),
    ('{"type":"result","seq":1,"call_id":1,"provenance":"fine"}', "result.provenance", "must be one of ok"),
    ('{"type":"result","seq":1,"call_id":1,"provenance":"ok","segments":[1]}', "result.segments", "add up"),
]


@pytest.mark.parametrize(("header", "path", "message"), REFUSED)
def test_what_is_no_frame_is_refused_with_its_path(header: str, path: str, message: str) -> None:
    """Each refusal says where and why."""
    with pytest.raises(RemoteProtocolError) as caught:
        decode_frame(header.encode("utf-8", "surrogatepass"), b"")
    assert caught.value.path == path
    assert message in str(caught.value)


def test_a_payload_behind_a_frame_that_has_none_is_refused() -> None:
    """It would otherwise be smuggled past everybody."""
    with pytest.raises(RemoteProtocolError) as caught:
        decode_frame(b'{"type":"ack","received":1}', b"x")
    assert caught.value.path == "ack.payload"


@pytest.mark.parametrize("tag", ["hello", "welcome"])
def test_a_greeting_of_another_version_is_refused_as_such_whatever_else_it_says(tag: str) -> None:
    """A later version may have fields that this one does not know: its user must read the true reason."""
    with pytest.raises(PeerFault, match="version 1 of the protocol, the peer version 2") as caught:
        decode_frame(b'{"type":"%s","protocol":2,"news":true}' % tag.encode(), b"")
    assert caught.value.code is f.ErrorCode.VERSION
    assert error_of(caught.value) == f.Error(code=f.ErrorCode.VERSION, message=str(caught.value))


def test_a_fault_without_a_code_is_told_as_a_breach_of_the_protocol() -> None:
    """The text is cut, so that it fits into any message."""
    assert error_of(RemoteProtocolError("x" * 999)) == f.Error(code=f.ErrorCode.PROTOCOL, message="x" * 500)


def test_values_that_merely_look_suspicious_are_taken() -> None:
    """Colons in text, escapes, deep but allowed nesting, whole numbers for seconds."""
    depth = MAX_DEPTH - 2
    header = (
        '{"type" : "call","seq":1,"call_id":1,"operation":"x","limit_s":3,"arguments":'
        '{"a":"x:y","b":"\\u003a","c":' + "[" * depth + "]" * depth + "}}"
    )
    _, frame = decode_frame(header.encode(), b"")
    assert isinstance(frame, f.Call)
    assert frame.arguments["b"] == ":"
    assert (frame.limit_s, type(frame.limit_s)) == (3.0, float)


def test_many_brackets_that_are_not_deep_are_taken() -> None:
    """Depth is counted, not brackets."""
    wide = [[] for _ in range(3 * MAX_DEPTH)]
    frame = f.Error(code=f.ErrorCode.BUSY, message="", detail={"wide": wide})
    assert FrameDecoder(BIG).feed(encode_frame(frame)) == [(None, frame)]


def test_arguments_pass_through_as_they_are() -> None:
    """The codec neither copies nor examines them."""
    arguments: Mapping[str, object] = MappingProxyType({"a": MappingProxyType({"b": (1, 2)})})
    data = encode_frame(f.Call(call_id=ONE, operation="x", arguments=arguments), sequence=1)
    ((_, frame),) = FrameDecoder(BIG).feed(data)
    assert isinstance(frame, f.Call)
    assert frame.arguments == {"a": {"b": [1, 2]}}


@pytest.mark.parametrize("value", [object(), "\ud800", 2**70, {1: 2}])
def test_what_has_no_json_form_is_our_own_mistake(value: object) -> None:
    """And can be found out before."""
    frame = f.Call(call_id=ONE, operation="x", arguments={"a": value})
    with pytest.raises(LocalProtocolError, match="call frame cannot be written"):
        encode_frame(frame, sequence=1)
    with pytest.raises(InvalidInputError, match="cannot be sent") as caught:
        ensure_json({"a": value}, field="arguments")
    assert caught.value.field == "arguments"


def test_a_header_that_is_too_large_is_our_own_mistake() -> None:
    """And can be found out before."""
    arguments = {"a": "x" * MAX_HEADER_BYTES}
    with pytest.raises(LocalProtocolError, match="the header of a call frame"):
        encode_frame(f.Call(call_id=ONE, operation="x", arguments=arguments), sequence=1)
    with pytest.raises(InvalidInputError, match="at most"):
        ensure_json(arguments, field="arguments")
    ensure_json({"a": MappingProxyType({"b": 1})}, field="arguments")


def test_session_frames_are_numbered_and_link_frames_are_not() -> None:
    """Nobody can forget the number."""
    with pytest.raises(LocalProtocolError, match="drain frame needs a sequence number"):
        encode_frame(f.Drain(grace_s=1))
    with pytest.raises(LocalProtocolError, match="ack frame has no sequence number"):
        encode_frame(f.Ack(received=1), sequence=1)


@pytest.mark.parametrize(
    ("kind", "arguments", "field", "message"),
    [
        (BashArguments, {}, "command", "is missing"),
        (BashArguments, {"command": 3}, "command", "must be text"),
        (BashArguments, {"command": "x", "shel": "sh"}, "shel", "unknown field"),
        (BashArguments, {"command": "x", "environment": {"A": 1}}, "environment", "entry 'A' must be text"),
        (BashArguments, {"command": "x", "environment": "A"}, "environment", "must be an object"),
        (BashArguments, {"command": "x", "allow_network": "yes"}, "allow_network", "must be true or false"),
        (ReadFileArguments, {"path": "x", "max_bytes": True}, "max_bytes", "must be an integer"),
    ],
)
def test_arguments_that_do_not_fit_name_their_field(
    kind: type, arguments: dict[str, object], field: str, message: str
) -> None:
    """A user's mistake is an InvalidInputError, one line."""
    with pytest.raises(InvalidInputError, match=message) as caught:
        structure_arguments(kind, arguments)
    assert caught.value.field == field


def test_arguments_and_reports_survive_the_round_trip() -> None:
    """A report is written with every field, so that readers need no defaults."""
    report = BashReport(
        exit_code=-1,
        duration_s=0.5,
        stdout_bytes=1,
        stderr_bytes=0,
        truncated=False,
        sandboxed=True,
        network_isolated=True,
        isolation="ns",
    )
    document = unstructure(report)
    assert set(document) == {field.name for field in attrs.fields(BashReport)}
    assert structure_arguments(BashReport, orjson.loads(orjson.dumps(document))) == report
    arguments = BashArguments(command="ls", environment={"A": "b"})
    assert structure_arguments(BashArguments, MappingProxyType(unstructure(arguments))) == arguments


def test_large_payloads_are_joined_without_quadratic_copying() -> None:
    """20 MB in 64 KiB pieces: the buffer is copied once, not once per piece."""
    payload = bytes(20_000_000)
    frame = f.Output(call_id=ONE, stream=f.Stream.DATA, offset=0, payload=payload)
    data = encode_frame(frame, sequence=1)
    decoder = FrameDecoder(len(data))
    read = []
    for start in range(0, len(data), 65_536):
        read += decoder.feed(data[start : start + 65_536])
    assert read == [(1, frame)]


def test_bytes_are_read_strictly_too() -> None:
    """The payload's reader is no way around the header: only the codec puts bytes there."""
    with pytest.raises(InvalidInputError) as caught:
        structure_arguments(f.Input, {"call_id": 1, "offset": 0, "payload": "text"})
    assert caught.value.field == "payload"
