"""What JSON Schema calls what."""

from __future__ import annotations

from typing import Any

import pytest

from hermes_trio.tools.json_types import json_type


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        (True, "boolean"),
        (1, "integer"),
        (1.0, "number"),
        ("", "string"),
        ({}, "object"),
        ([], "array"),
        ((), "array"),
    ],
)
def test_every_value_has_its_name(value: Any, name: str) -> None:
    """A boolean is no integer."""
    assert json_type(value) == name
