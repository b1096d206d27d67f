"""Logs and traces are made in one room: everybody else says what happened, and knows no library for it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from house import rooms, sources

_ALLOWED: Mapping[str, tuple[str, ...]] = {
    "logging": (
        "hermes_trio.telemetry.log",
        "hermes_trio.telemetry.rendering",
        "hermes_trio.testing.silence",
    ),
    "structlog": ("hermes_trio.telemetry.rendering",),
    "opentelemetry": (
        "hermes_trio.telemetry.traces",
        "hermes_trio.telemetry.exporting",
        "hermes_trio.testing.spans",
    ),
}


@pytest.mark.parametrize("library", _ALLOWED)
def test_a_library_for_telling_is_imported_in_its_place_only(library: str) -> None:
    """Elsewhere: ``get_logger`` of ``telemetry/log.py``, and ``telemetry/traces.py``."""
    found = [
        f"{module.where}:{line}"
        for module in sources.modules(*rooms.PACKAGES)
        if module.name not in _ALLOWED[library]
        for line, target in sources.imports(module)
        if target.split(".")[0] == library
    ]
    assert not found, "\n".join(found)
