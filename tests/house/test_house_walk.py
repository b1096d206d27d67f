"""The walk through the code names files and functions that exist, each once."""

from __future__ import annotations

import re

import pytest
from house import sources

_WALK = sources.ROOT / "docs" / "design" / "walk.md"
_STEP = re.compile(r"`([\w/]+\.py):([\w.]+)`")


def _steps() -> list[tuple[str, str]]:
    return _STEP.findall(_WALK.read_text(encoding="utf-8")) if _WALK.exists() else []


@pytest.mark.parametrize(("file", "function"), _steps(), ids=lambda part: str(part))
def test_each_step_of_the_walk_exists(file: str, function: str) -> None:
    """``path:function`` or ``path:Class.method``, by the syntax tree."""
    path = sources.ROOT / file
    assert path.is_file()
    assert function in {each.qualname for each in sources.functions(sources.read_module(path))}


def test_the_walk_names_each_step_once() -> None:
    """It is a path, not an index."""
    steps = _steps()
    assert len(steps) >= 20
    assert len(steps) == len(set(steps))


def test_the_walk_begins_at_execute_and_passes_every_room_of_the_road() -> None:
    """Executor, slots, wire, link, and the daemon's rooms."""
    steps = _steps()
    assert steps[0][1].endswith("execute")
    files = " ".join(file for file, _ in steps)
    rooms = (
        "executor/",
        "slots/",
        "fleet/",
        "wire/",
        "link/",
        "sandbox_daemon/server/",
        "sandbox_daemon/process/",
    )
    assert [room for room in rooms if room not in files] == []
