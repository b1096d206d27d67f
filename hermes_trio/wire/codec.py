"""Bytes to frames and back.

A frame is ``u32 header length | u32 payload length | header (JSON object) | payload``, big endian. What
comes in is checked in this order, cheapest first: lengths, JSON, depth, doubled names, the tag, then every
field by its type. Any bytes give frames or :class:`RemoteProtocolError`; nothing else leaves this file.

There is exactly one converter (cattrs, with the readers of ``strict.py``). A second one of the same make,
which records where it fails, is asked only when the first has already refused: finding the path costs the
good frames nothing. ``arguments``, ``data``, ``detail`` and ``isolation`` pass through as they are.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin

import attrs
import orjson
from attrs import frozen
from cattrs import BaseConverter, Converter
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ClassValidationError,
    ForbiddenExtraKeysError,
)
from cattrs.fns import identity
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from hermes_trio.errors import InvalidInputError, LocalProtocolError
from hermes_trio.wire.faults import PeerFault, version_fault
from hermes_trio.wire.frames import (
    PROTOCOL_VERSION,
    CallId,
    Epoch,
    ErrorCode,
    Frame,
    Hello,
    LinkFrame,
    Result,
    SessionFrame,
    SessionId,
    SlotId,
    Welcome,
)
from hermes_trio.wire.headers import load_header
from hermes_trio.wire.ranges import Between
from hermes_trio.wire.strict import (
    Reader,
    bounds_reader,
    integer_reader,
    kind_of,
    read_bytes,
    read_choice,
    read_flag,
    read_integer,
    read_number,
    read_object,
    read_text,
    read_texts,
    sequence_reader,
)

MAX_HEADER_BYTES = 2 * 1024 * 1024
"""JSON costs several times its size in objects; bulk belongs into the payload."""

_PREFIX = struct.Struct(">II")
_PREFIX_BYTES = _PREFIX.size

_T = TypeVar("_T")

# --- the converter ----------------------------------------------------------------------------------------

_PLAIN_READERS: dict[Any, Reader] = {
    bool: read_flag,
    bytes: read_bytes,
    float: read_number,
    int: read_integer,
    str: read_text,
    CallId: integer_reader(Between(1)),
    Epoch: integer_reader(Between(0)),
    SessionId: read_text,
    SlotId: read_text,
    Mapping[str, Any]: read_object,
    Mapping[str, str]: read_texts,
}


def _reader_of(wanted: Any) -> Reader | None:
    """The strict reader of a type that is no class of ours and no union."""
    if wanted in _PLAIN_READERS:
        return _PLAIN_READERS[wanted]
    if get_origin(wanted) is Annotated:
        return bounds_reader(get_args(wanted)[1])
    if get_origin(wanted) is tuple:
        return sequence_reader(cast(Reader, _reader_of(get_args(wanted)[0])))
    return None


def _has_reader(wanted: Any) -> bool:
    return _reader_of(wanted) is not None


def _class_reader(wanted: type, converter: BaseConverter) -> Reader:
    """A reader of one attrs class: an object with exactly its fields."""
    read_fields: Reader = make_dict_structure_fn(
        wanted,
        converter,
        _cattrs_forbid_extra_keys=True,
        _cattrs_detailed_validation=converter.detailed_validation,
    )

    def read_instance(value: Any, kind: Any) -> Any:
        return read_fields(read_object(value, kind), kind)

    return read_instance


def _build_converter(*, detailed: bool) -> Converter:
    """Build the one converter of this project.

    Args:
        detailed: record where a failure was found; slower.
    """
    converter = Converter(detailed_validation=detailed)
    converter.register_structure_hook_factory(attrs.has, _class_reader)
    converter.register_structure_hook_factory(_has_reader, lambda wanted: cast(Reader, _reader_of(wanted)))
    # Classes are looked up before predicates are asked: what cattrs registers by class is replaced by class.
    for plain in (bool, bytes, float, int, str):
        converter.register_structure_hook(plain, _PLAIN_READERS[plain])
    converter.register_structure_hook(StrEnum, read_choice)
    converter.register_unstructure_hook_func(_has_reader, identity)
    return converter


_CONVERTER = _build_converter(detailed=False)
_LOCATOR = _build_converter(detailed=True)
_STRUCTURE_ERRORS = (KeyError, ValueError, BaseValidationError, ForbiddenExtraKeysError)


def _locate(value: Any, wanted: type) -> tuple[tuple[str, ...], str]:
    """Where and why a value that the converter refused is wrong."""
    try:
        _LOCATOR.structure(value, wanted)
    except ClassValidationError as exc:
        return _first_fault(exc)
    raise AssertionError("the two converters disagree")  # pragma: no cover


def _first_fault(error: Exception) -> tuple[tuple[str, ...], str]:
    match error:
        case ClassValidationError():
            inner = error.exceptions[0]
            path, message = _first_fault(inner)
            notes = (
                note for note in getattr(inner, "__notes__", ()) if isinstance(note, AttributeValidationNote)
            )
            return (*(note.name for note in notes), *path), message
        case ForbiddenExtraKeysError():
            return (min(error.extra_fields)[:64],), "unknown field"
        case KeyError():
            return (), "is missing"
        case _:
            return (), str(error)


def structure_arguments(kind: type[_T], arguments: Mapping[str, Any]) -> _T:
    """Check an operation's arguments (or a report) against its class.

    Raises:
        InvalidInputError: they do not fit; ``field`` names the first that does not.
    """
    document = dict(arguments)
    try:
        return _CONVERTER.structure(document, kind)
    except _STRUCTURE_ERRORS:
        path, message = _locate(document, kind)
    raise InvalidInputError(message, field=".".join(path))


def ensure_json(value: Any, *, field: str, max_bytes: int = MAX_HEADER_BYTES) -> None:
    """Find out, before a call is made of it, whether a value can stand in a frame.

    What a model wrote may hold half a surrogate pair or an integer of a thousand digits.

    Raises:
        InvalidInputError: it has no JSON form, or one that is too large.
    """
    try:
        size = len(orjson.dumps(value, default=_plain))
    except orjson.JSONEncodeError as exc:
        raise InvalidInputError(f"cannot be sent: {exc}", field=field) from exc
    if size > max_bytes:
        raise InvalidInputError(f"cannot be sent: {size} bytes, at most {max_bytes}", field=field)


def unstructure(report: Any) -> dict[str, Any]:
    """Turn a report (or arguments) into what may stand in a frame, every field of it."""
    document: dict[str, Any] = _CONVERTER.unstructure(report)
    return document


# --- one frame --------------------------------------------------------------------------------------------


@frozen
class _Kind:
    """How one class of frames is written and read."""

    tag: str
    frame: type
    sequenced: bool
    has_payload: bool
    read: Callable[[Any, Any], Any]
    write: Callable[[Any], dict[str, Any]]


def _kind(frame: type) -> _Kind:
    """Headers leave out what has its default; the payload is never in them."""
    has_payload = hasattr(attrs.fields(frame), "payload")
    skip: dict[str, Any] = {"payload": override(omit=True)} if has_payload else {}
    return _Kind(
        tag=re.sub(r"(?<!^)(?=[A-Z])", "_", frame.__name__).lower(),
        frame=frame,
        sequenced=frame in get_args(SessionFrame),
        has_payload=has_payload,
        read=_CONVERTER.get_structure_hook(frame),
        write=make_dict_unstructure_fn(frame, _CONVERTER, _cattrs_omit_if_default=True, **skip),
    )


_KINDS = {frame: _kind(frame) for frame in get_args(LinkFrame) + get_args(SessionFrame)}
_KINDS_BY_TAG = {kind.tag: kind for kind in _KINDS.values()}
_SEQUENCE = integer_reader(Between(1))


def _plain(value: Any) -> Any:
    """Let any mapping stand where JSON wants an object (orjson itself takes ``dict`` only)."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def encode_frame(frame: Frame, *, sequence: int | None = None) -> bytes:
    """Write one frame.

    Args:
        frame: any frame.
        sequence: its number if it is a session frame, ``None`` if it is a link frame.

    Raises:
        LocalProtocolError: the frame has no JSON form, or its header is too large.
    """
    kind = _KINDS[type(frame)]
    if kind.sequenced is (sequence is None):
        raise LocalProtocolError(
            f"a {kind.tag} frame {'needs a' if kind.sequenced else 'has no'} sequence number"
        )
    fields = kind.write(frame)
    tags = {"type": kind.tag} if sequence is None else {"type": kind.tag, "seq": sequence}
    try:
        header = orjson.dumps(tags | fields, default=_plain)
    except orjson.JSONEncodeError as exc:
        raise LocalProtocolError(f"a {kind.tag} frame cannot be written: {exc}") from exc
    if len(header) > MAX_HEADER_BYTES:
        raise LocalProtocolError(f"the header of a {kind.tag} frame has {len(header)} bytes")
    payload: bytes = frame.payload if kind.has_payload else b""  # type: ignore[union-attr]
    return _PREFIX.pack(len(header), len(payload)) + header + payload


def decode_frame(header: bytes, payload: bytes) -> tuple[int | None, Frame]:
    """Read one frame, strictly.

    Returns:
        The sequence number (``None`` for a link frame) and the frame.

    Raises:
        RemoteProtocolError: it is not exactly a frame; ``path`` says where.
    """
    document = load_header(header)
    kind = _take_kind(document)
    sequence = _take_sequence(document, kind)
    if "payload" in document:
        raise PeerFault("belongs behind the header", path=f"{kind.tag}.payload")
    if payload:
        document["payload"] = payload
    try:
        frame = kind.read(document, kind.frame)
    except _STRUCTURE_ERRORS:
        raise _explain(document, kind) from None
    if type(frame) is Result and frame.segments and sum(frame.segments) != len(payload):
        raise PeerFault("must add up to the payload", path="result.segments")
    return sequence, frame


def _explain(document: dict[str, Any], kind: _Kind) -> PeerFault:
    """Why a document is not this kind of frame. A greeting of another version may have other fields."""
    version = document.get("protocol")
    if kind.frame in (Hello, Welcome) and type(version) is int and version != PROTOCOL_VERSION:
        return version_fault(version, path=f"{kind.tag}.protocol")
    path, message = _locate(document, kind.frame)
    return PeerFault(message, path=".".join((kind.tag, *path)))


def _take_kind(document: dict[str, Any]) -> _Kind:
    tag = document.pop("type", None)
    kind = _KINDS_BY_TAG.get(tag) if type(tag) is str else None
    if kind is None:
        shown = repr(tag[:64]) if type(tag) is str else kind_of(tag)
        raise PeerFault(f"no known frame: {shown}", path="type")
    return kind


def _take_sequence(document: dict[str, Any], kind: _Kind) -> int | None:
    """Session frames are numbered, link frames are not."""
    if not kind.sequenced:
        return None  # a "seq" that stands there all the same is an unknown field
    try:
        sequence: int = _SEQUENCE(document.pop("seq", None), None)
    except ValueError as exc:
        raise PeerFault(str(exc), path=f"{kind.tag}.seq") from None
    return sequence


# --- the stream -------------------------------------------------------------------------------------------


class FrameDecoder:
    """Cuts a stream of bytes into frames; where the pieces end carries no meaning.

    Args:
        max_frame_bytes: largest frame taken, prefix included; known to be too large from its first 8 bytes.

    Attributes:
        error: what ended the stream; nothing is read after it.
        consumed_bytes: bytes of all frames returned so far.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self.error: PeerFault | None = None
        self.consumed_bytes = 0
        self._max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()

    def __repr__(self) -> str:
        return f"<FrameDecoder {len(self._buffer)} bytes waiting, {self.consumed_bytes} consumed>"

    @property
    def leftover(self) -> bytes:
        """What was fed and not used yet, for whoever reads on."""
        return bytes(self._buffer)

    def feed(
        self, data: bytes | bytearray | memoryview, *, at_most: int | None = None
    ) -> list[tuple[int | None, Frame]]:
        """Take bytes, return the frames that they complete.

        A bad frame raises; if good ones came before it, those are returned first and the next call raises
        (``error`` tells at once).

        Args:
            data: any number of bytes.
            at_most: stop after so many frames; the rest stays in ``leftover``. ``None``: all.

        Raises:
            RemoteProtocolError: this or an earlier call met bytes that are no frame.
        """
        self._raise_unless(False)
        if self._buffer or at_most is not None:
            self._buffer += data
            frames, used = self._cut(self._buffer, at_most)
            del self._buffer[:used]
        else:
            frames, used = self._cut(data, at_most)
            self._buffer += data[used:]
        self._raise_unless(bool(frames))
        return frames

    def _raise_unless(self, frames_first: bool) -> None:
        if self.error is not None and not frames_first:
            raise self.error

    def _cut(
        self, source: bytes | bytearray | memoryview, at_most: int | None
    ) -> tuple[list[tuple[int | None, Frame]], int]:
        frames: list[tuple[int | None, Frame]] = []
        start, end = 0, len(source)
        with memoryview(source) as view:
            while end - start >= _PREFIX_BYTES and len(frames) != at_most:
                try:
                    frame, size = self._cut_one(view, start, end)
                except PeerFault as exc:
                    self.error = exc
                    break
                if frame is None:
                    break
                frames.append(frame)
                start += size
        self.consumed_bytes += start
        return frames, start

    def _cut_one(self, view: memoryview, start: int, end: int) -> tuple[tuple[int | None, Frame] | None, int]:
        header_bytes, payload_bytes = _PREFIX.unpack_from(view, start)
        body = start + _PREFIX_BYTES
        size = _PREFIX_BYTES + header_bytes + payload_bytes
        if size > self._max_frame_bytes or header_bytes > MAX_HEADER_BYTES:
            raise PeerFault(
                f"a frame of {header_bytes} + {payload_bytes} bytes is too large", code=ErrorCode.TOO_LARGE
            )
        if end - start < size:
            return None, 0
        payload = body + header_bytes
        frame = decode_frame(bytes(view[body:payload]), bytes(view[payload : payload + payload_bytes]))
        return frame, size
