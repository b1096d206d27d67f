"""Fails when the tests do not reach enough: all of the pure modules, 90 % of the rest.

Usage: python scripts/coverage_gate.py COVERAGE.json   (made by ``coverage json``)
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from house import sources

WANTED_PERCENT = 90.0
"""Of lines and branches together, over everything that is not pure."""

SHOWN = 15
"""How many of the least covered files are named."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What the tests reached of one file."""

    file: str
    reached: int
    there: int
    missing: str

    @property
    def percent(self) -> float:
        """Of lines and branches together; a file without code is complete."""
        return 100.0 * self.reached / self.there if self.there else 100.0


def read_report(path: Path) -> tuple[Coverage, ...]:
    """Read what ``coverage json`` wrote. The report must have been measured by branch."""
    report = json.loads(path.read_text(encoding="utf-8"))
    if not report["meta"]["branch_coverage"]:
        sys.exit(f"{path}: measured without branches")
    return tuple(_read_file(name, entry) for name, entry in sorted(report["files"].items()))


def _read_file(name: str, entry: dict[str, Any]) -> Coverage:
    summary: dict[str, int] = entry["summary"]
    lines = [str(line) for line in entry["missing_lines"]]
    branches = [f"{start}->{end}" for start, end in entry["missing_branches"]]
    return Coverage(
        file=name,
        reached=summary["covered_lines"] + summary["covered_branches"],
        there=summary["num_statements"] + summary["num_branches"],
        missing=" ".join([*lines, *branches]),
    )


def total_percent(files: Sequence[Coverage]) -> float:
    """Over several files, each line and branch counted once."""
    there = sum(each.there for each in files)
    return 100.0 * sum(each.reached for each in files) / there if there else 100.0


def main(arguments: Sequence[str]) -> int:
    """Print the report and return the exit code."""
    files = read_report(Path(arguments[0]))
    pure = {module.where for module in sources.pure_modules()}
    unreached = [each for each in files if each.file in pure and each.reached < each.there]
    unseen = sorted(pure - {each.file for each in files})
    rest = [each for each in files if each.file not in pure]
    for each in unreached:
        print(f"pure, not whole: {each.percent:6.2f} %  {each.file}  missing {each.missing}")
    for name in unseen:
        print(f"pure, not measured: {name}")
    for each in sorted(rest, key=lambda each: each.percent)[:SHOWN]:
        print(f"{each.percent:6.2f} %  {each.file}  missing {each.missing[:100]}")
    percent = total_percent(rest)
    verdict = "NOT whole" if unreached or unseen else "whole"
    print(f"coverage by branch: {len(pure)} pure modules {verdict}; the rest {percent:.2f} %")
    return int(verdict != "whole" or percent < WANTED_PERCENT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
