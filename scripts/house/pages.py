"""Reads the documentation: code blocks, links and headings of the Markdown pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from house.sources import ROOT

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\!)\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced code block."""

    page: str
    line: int
    """Of its first line of code, 1-based."""
    language: str
    code: str

    @property
    def where(self) -> str:
        """For messages and test ids."""
        return f"{self.page}:{self.line}"

    @property
    def is_program(self) -> bool:
        """Whether it is complete: it runs something, rather than showing a part."""
        return self.language == "python" and "trio.run(" in self.code


def pages() -> tuple[Path, ...]:
    """Every Markdown page of the project."""
    top = [path for path in (ROOT / name for name in ("README.md", "CONTRIBUTING.md")) if path.exists()]
    return (*top, *sorted((ROOT / "docs").rglob("*.md")))


def blocks(*languages: str) -> tuple[Block, ...]:
    """All code blocks in one of the languages."""
    return tuple(block for page in pages() for block in _blocks(page) if block.language in languages)


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        yield Block(
            page=page.relative_to(ROOT).as_posix(),
            line=text.count("\n", 0, match.start(2)) + 1,
            language=match.group(1),
            code=match.group(2),
        )


def links(page: Path) -> list[str]:
    """Targets of the links of a page, those in code left out."""
    prose = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", page.read_text(encoding="utf-8")))
    return _LINK.findall(prose)


def anchors(page: Path) -> set[str]:
    """Names that a ``#fragment`` may have on this page: its headings, spelled as forges spell them."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return {_slug(heading) for heading in _HEADING.findall(prose)}


def _slug(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower())
    return kept.replace(" ", "-")
