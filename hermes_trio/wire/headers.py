"""Parses a frame's header: one JSON object, not too deep, with no name twice."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import orjson

from hermes_trio.wire.faults import PeerFault
from hermes_trio.wire.strict import kind_of

MAX_DEPTH = 100
"""Lists and objects within each other. orjson writes 254 levels; what is relayed must still fit inside."""


def load_header(header: bytes) -> dict[str, Any]:
    """Parse a header: one object, not too deep, no name twice."""
    try:
        document = orjson.loads(header)
    except orjson.JSONDecodeError as exc:
        raise PeerFault(f"the header is no JSON: {exc.msg}") from None
    if type(document) is not dict:
        raise PeerFault(f"the header is {kind_of(document)}, not an object")
    if header.count(b"{") + header.count(b"[") > MAX_DEPTH:
        _check_depth(document)
    # orjson keeps the last of two members of one name, in silence. Every member has a colon and so has its
    # copy, written again: equal counts mean that nothing was dropped, unless a colon was spelled \u003a.
    if header.count(b":") != orjson.dumps(document).count(b":") or b"\\u003" in header:
        _check_names(header)
    return document


def _check_depth(document: dict[str, Any]) -> None:
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer) if type(inner) in (dict, list)]
        if not level:
            return
    raise PeerFault(f"the header is nested deeper than {MAX_DEPTH} levels")


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _check_names(header: bytes) -> None:
    """Look for doubled names with the standard library's parser, which shows all members."""

    def collect(members: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in members]
        if len(set(names)) != len(names):
            raise PeerFault("the header has two members of one name")

    json.loads(header, object_pairs_hook=collect, parse_int=str, parse_float=str)
