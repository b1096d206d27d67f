"""What is under version control names no machine, and what belongs together stays together."""

from __future__ import annotations

import re
import tomllib

import pytest
from house import sources

_SUFFIXES = {
    ".py",
    ".md",
    ".toml",
    ".sh",
    ".txt",
    ".yml",
    ".yaml",
    ".json",
    ".jsonl",
    ".cfg",
    ".ini",
    ".rst",
    "",
}
_LONGEST_READ = 2_000_000

# Spelled with classes and groups, so that this file does not match itself.
_MACHINE = (
    (r"/home/(?!user\b|USER\b|me\b)[a-z][a-z0-9_-]*/", "somebody's home"),
    (r"/[U]sers/[A-Za-z]", "somebody's home"),
    (r"/[r]oot/\.(?:pyenv|cache|local|config|cargo|npm)", "root's home"),
    (r"(?<![\w.>])/[w]ork/(?:main|shared|farm|[a-z0-9_-]+/\.venv)", "a working directory"),
    (r"/tmp/[b]ash_jobs", "a job directory"),
    (r"/[m]nt/[a-z]/", "a mounted drive"),
)
_REGISTRIES = (
    r"(?:test\.)?pypi\.[o]rg",
    r"files\.python[h]osted\.org",
    r"registry\.npm[j]s\.org",
    r"registry\.yarn[p]kg\.com",
    r"proxy\.go[l]ang\.org",
    r"[a-z0-9-]+\.pkg\.[d]ev",
    r"[a-z0-9.-]*\b(?:arti[f]actory|ne[x]us|dev[p]i)\b[a-z0-9-]*\.[a-z]{2,}",
    r"--(?:extra-)?index-[u]rl",
    r"--find-[l]inks",
)


def _texts() -> list[tuple[str, str]]:
    return [
        (path.relative_to(sources.ROOT).as_posix(), path.read_text(encoding="utf-8", errors="replace"))
        for path in sources.tracked_files()
        if path.suffix in _SUFFIXES and path.stat().st_size <= _LONGEST_READ
    ]


def _lines_that_match(pattern: str) -> list[str]:
    wanted = re.compile(pattern)
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in _texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if wanted.search(line)
    ]


@pytest.mark.parametrize(("pattern", "what"), _MACHINE, ids=[what for _, what in _MACHINE])
def test_no_tracked_file_names_a_path_of_one_machine(pattern: str, what: str) -> None:
    """Such a path works for its author and for nobody else."""
    found = _lines_that_match(pattern)
    assert not found, f"{what}:\n" + "\n".join(found)


@pytest.mark.parametrize("pattern", _REGISTRIES)
def test_no_tracked_file_names_a_package_registry(pattern: str) -> None:
    """Where packages come from is the affair of whoever installs, not of the project."""
    found = _lines_that_match(pattern)
    assert not found, "\n".join(found)


def test_news_fragments_have_names_that_towncrier_takes() -> None:
    """``<issue>.<type>.md`` or ``+<words>.<type>.md``; anything else would be left out in silence."""
    project = tomllib.loads((sources.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    types = "|".join(each["directory"] for each in project["tool"]["towncrier"]["type"])
    fragments = [
        path.name for path in (sources.ROOT / "newsfragments").iterdir() if path.name != ".gitignore"
    ]
    odd = [name for name in fragments if not re.fullmatch(rf"(\d+|\+[\w-]+)\.({types})(\.\d+)?\.md", name)]
    assert not odd
