"""One converter for everything the harness sends between its processes and writes to files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from cattrs import BaseValidationError, Converter, transform_error
from cattrs.preconf.orjson import make_converter

from hermes_trio.telemetry import HistogramSnapshot

T = TypeVar("T")


def _make() -> Converter:
    converter = make_converter(forbid_extra_keys=True)
    converter.register_unstructure_hook(HistogramSnapshot, lambda snapshot: snapshot.to_mapping())
    converter.register_structure_hook(
        HistogramSnapshot, lambda mapping, _: HistogramSnapshot.from_mapping(mapping)
    )
    return converter


_CONVERTER = _make()


def to_mapping(value: object) -> dict[str, Any]:
    """JSON values of an attrs object."""
    mapping: dict[str, Any] = _CONVERTER.unstructure(value)
    return mapping


def from_mapping(mapping: Mapping[str, Any], cls: type[T]) -> T:
    """The way back.

    Raises:
        ValueError: the mapping does not fit; names every place where it does not.
    """
    try:
        return _CONVERTER.structure(mapping, cls)
    except BaseValidationError as error:
        raise ValueError("; ".join(transform_error(error))) from error


def to_line(value: object) -> bytes:
    """One JSON line."""
    return orjson.dumps(_CONVERTER.unstructure(value), option=orjson.OPT_APPEND_NEWLINE)


def from_line(line: bytes, cls: type[T]) -> T:
    """The way back."""
    return from_mapping(orjson.loads(line), cls)
