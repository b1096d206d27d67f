"""What the documentation says is tested is tested: every test that is named there exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from house.sources import ROOT

CHECKLIST = ROOT / "docs" / "reference" / "hostile-checklist.md"
THREATS = ROOT / "docs" / "design" / "threats.md"
_ROW = re.compile(r"^\| (\d+) \| .+ \| (.+) \|$", re.MULTILINE)
_NAME = re.compile(r"`(test_\w+)`")
NOT_YET: set[int] = set()
ITEMS = [number for number in range(1, 44) if number not in NOT_YET]
"""Of the list that this project was begun with: all but those on the protocol."""


def _tests() -> set[str]:
    pattern = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    return {name for text in texts for name in pattern.findall(text)}


@pytest.mark.parametrize("page", [CHECKLIST, THREATS], ids=lambda page: page.name)
def test_tests_named_on_a_page_exist(page: Path) -> None:
    """A renamed test must not leave a promise behind."""
    named = set(_NAME.findall(page.read_text(encoding="utf-8")))
    assert named
    assert sorted(named - _tests()) == []


def test_every_item_of_the_checklist_names_its_tests() -> None:
    """In order, none left out, none without a test."""
    rows = _ROW.findall(CHECKLIST.read_text(encoding="utf-8"))
    assert [int(number) for number, _ in rows] == ITEMS
    assert [number for number, tests in rows if not _NAME.findall(tests)] == []
