"""Tables on pages of the documentation, for tests that try what they say."""

from __future__ import annotations

from pathlib import Path


def rows_below(heading: str, page: Path) -> list[tuple[str, ...]]:
    """The first table below a heading, cell by cell, without the marks of code; its head is left out."""
    section = page.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.replace("`", "") for line in section.splitlines() if line.startswith("|")]
    if len(lines) < 3:
        raise ValueError(f"{page}: no table below {heading!r}")
    return [tuple(cell.strip() for cell in line[1:-1].split("|")) for line in lines[2:]]
