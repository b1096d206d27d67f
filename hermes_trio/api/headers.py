"""PURE. What requests for files say in their query and headers, read strictly."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from attrs import frozen

from hermes_trio.errors import InvalidInputError

_RANGE: Final = re.compile(r"bytes=(?:([0-9]{1,15})-([0-9]{0,15})|-([0-9]{1,15}))", re.ASCII)
_DIGEST: Final = re.compile(r"(?:^|,)\s*sha-256=:([^:]*):", re.ASCII)
_DIGEST_BYTES: Final = 32
MODE_PATTERN: Final = "^0?[0-7]{3}$"
MAX_OFFSET: Final = 10**15


def query_of(query: bytes) -> dict[str, bytes]:
    """The parameters of a query, undecoded: a name in a workspace is bytes. A plus is a space.

    Args:
        query: what stands behind the question mark.
    """
    pairs = (pair.replace(b"+", b" ").partition(b"=") for pair in query.split(b"&") if pair)
    return {unquote_to_bytes(name).decode("latin1"): unquote_to_bytes(value) for name, _, value in pairs}


def text_in(query: Mapping[str, bytes], name: str, *, default: str = "") -> str:
    """A parameter that is text.

    Raises:
        InvalidInputError: it is none.
    """
    try:
        return query[name].decode() if name in query else default
    except UnicodeDecodeError:
        raise InvalidInputError("is not UTF-8", field=name) from None


def offset_in(query: Mapping[str, bytes]) -> int:
    """Bytes that came before.

    Raises:
        InvalidInputError: it is no number.
    """
    told = text_in(query, "offset", default="0")
    if not (told.isascii() and told.isdecimal() and len(told) <= 16 and int(told) <= MAX_OFFSET):
        raise InvalidInputError("must be a whole number of bytes", field="offset")
    return int(told)


def mode_in(query: Mapping[str, bytes]) -> int | None:
    """Permission bits; ``None``: nothing was said.

    Raises:
        InvalidInputError: they are none.
    """
    told = text_in(query, "mode")
    if not told:
        return None
    if not re.fullmatch(MODE_PATTERN, told, re.ASCII):
        raise InvalidInputError("must be three octal digits, 644 for instance", field="mode")
    return int(told, 8)


@frozen
class Part:
    """Bytes of a file, from ``start`` up to and without ``stop``."""

    start: int
    stop: int


def part_of(told: str | None, size: int) -> Part | None:
    """What a ``Range`` header asks for (RFC 9110, 14.2); ``None``: all of it.

    Several ranges, other units and nonsense are as if there were no header; that is the RFC's word too.

    Raises:
        ValueError: it lies behind the end: 416.
    """
    found = _RANGE.fullmatch((told or "").replace(" ", ""))
    if found is None:
        return None
    first, last, tail = found.groups()
    if tail is not None:
        part = Part(max(0, size - int(tail)), size)
    else:
        part = Part(int(first), min(size, int(last) + 1) if last else size)
        if last and int(last) < int(first):
            return None
    if part.start >= part.stop:
        raise ValueError("behind the end")
    return part


def digest_of(told: str | None) -> bytes | None:
    """The SHA-256 of a ``Repr-Digest`` header (RFC 9530); ``None``: it tells none. Others are passed over.

    Raises:
        InvalidInputError: it is no digest.
    """
    found = _DIGEST.search(told or "")
    if found is None:
        return None
    try:
        digest = base64.b64decode(found[1], validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != _DIGEST_BYTES:
        raise InvalidInputError("its sha-256 must be 32 bytes in base64", field="Repr-Digest")
    return digest


def digest_header(sha256: str) -> str:
    """A digest in hexadecimal, as ``Repr-Digest`` says it."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"
