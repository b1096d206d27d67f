"""The room is pure: it loads neither Trio nor httpx, and nothing in it waits."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hermes_trio
import hermes_trio.wire

ROOM = Path(hermes_trio.wire.__file__).parent
FORBIDDEN = {"asyncio", "httpx", "random", "secrets", "socket", "threading", "time", "trio", "uuid"}


def test_importing_the_wire_loads_neither_trio_nor_httpx() -> None:
    """In a fresh interpreter: the package's front door is lazy."""
    modules = [f"hermes_trio.wire.{path.stem}" for path in ROOM.glob("*.py") if path.stem != "__init__"]
    code = f"import sys, {', '.join(modules)}; print(*(m for m in ('trio', 'httpx') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("path", sorted(ROOM.glob("*.py")), ids=lambda path: path.stem)
def test_no_file_of_the_wire_waits_or_looks_at_a_clock(path: Path) -> None:
    """No async, no clock, no randomness."""
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncWith | ast.AsyncFor)
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & FORBIDDEN
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in FORBIDDEN


def test_public_names_are_found_where_they_live() -> None:
    """Every name of the table exists, and is listed."""
    for name in hermes_trio.__all__:
        assert getattr(hermes_trio, name) is not None
    assert set(hermes_trio.__all__) <= set(dir(hermes_trio))


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    """As for any module."""
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        hermes_trio.nonsense  # noqa: B018
