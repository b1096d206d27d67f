"""Compiles a JSON Schema into what checks values. PURE.

All drafts, by the schema's ``$schema``, else 2020-12. Schemas come from servers, too: a pattern may go back
and forth only so often, and no reference to another document is fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Never

import jsonschema_rs

from hermes_trio.errors import InvalidInputError

_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000)
"""A pattern without look-around and back references is matched in linear time anyway."""

_MAX_TOLD_CHARS = 300


def compile_schema(schema: Mapping[str, Any], *, owner: str) -> jsonschema_rs.Validator:
    """The validator of a schema.

    Args:
        schema: JSON values only.
        owner: whose it is, for the error.

    Raises:
        InvalidInputError: it is no JSON Schema, or refers to another document.
    """
    try:
        return jsonschema_rs.validator_for(dict(schema), pattern_options=_PATTERNS, retriever=_fetch_nothing)
    except ValueError as error:
        told = str(getattr(error, "message", error))[:_MAX_TOLD_CHARS]
        raise InvalidInputError(f"{owner}: no JSON Schema: {told}", field="parameters") from error


def _fetch_nothing(uri: str) -> Never:
    raise ValueError(f"'{uri}' is another document, and none is fetched")
