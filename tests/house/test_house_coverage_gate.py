"""The coverage gate: whole for pure modules, 90 % for the rest, and never fooled by what is absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import coverage_gate
import pytest
from house import sources


def _entry(*, statements: int, covered: int, branches: int = 0, covered_branches: int = 0) -> dict[str, Any]:
    return {
        "summary": {
            "num_statements": statements,
            "covered_lines": covered,
            "num_branches": branches,
            "covered_branches": covered_branches,
        },
        "missing_lines": list(range(1, statements - covered + 1)),
        "missing_branches": [[1, -2]] * (branches - covered_branches),
    }


def _report(
    path: Path, rest: dict[str, Any], pure: dict[str, Any] | None = None, *, branch: bool = True
) -> Path:
    """A report in which all pure modules are whole but those given."""
    whole = {module.where: _entry(statements=2, covered=2) for module in sources.pure_modules()}
    report = {"meta": {"branch_coverage": branch}, "files": {**whole, **(pure or {}), **rest}}
    path.write_text(json.dumps(report), encoding="utf-8")
    return path


def _first_pure() -> str:
    return sources.pure_modules()[0].where


def test_enough_coverage_passes(tmp_path: Path) -> None:
    """Exactly the wanted share is enough."""
    report = _report(tmp_path / "c.json", {"rest.py": _entry(statements=100, covered=90)})
    assert coverage_gate.main([str(report)]) == 0


def test_too_little_coverage_of_the_rest_fails(tmp_path: Path) -> None:
    """Branches count like lines."""
    rest = {"rest.py": _entry(statements=90, covered=90, branches=20, covered_branches=0)}
    assert coverage_gate.main([str(_report(tmp_path / "c.json", rest))]) == 1


def test_one_missing_branch_of_a_pure_module_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the gate says which."""
    pure = {_first_pure(): _entry(statements=50, covered=50, branches=2, covered_branches=1)}
    assert coverage_gate.main([str(_report(tmp_path / "c.json", {}, pure))]) == 1
    assert f"{_first_pure()}  missing 1->-2" in capsys.readouterr().out


def test_a_pure_module_that_was_not_measured_fails(tmp_path: Path) -> None:
    """A report that lost a file is not a report that passed."""
    report = _report(tmp_path / "c.json", {})
    content = json.loads(report.read_text(encoding="utf-8"))
    del content["files"][_first_pure()]
    report.write_text(json.dumps(content), encoding="utf-8")
    assert coverage_gate.main([str(report)]) == 1


def test_a_report_without_branches_is_refused(tmp_path: Path) -> None:
    """Lines alone would pass where branches fail."""
    with pytest.raises(SystemExit, match="without branches"):
        coverage_gate.main([str(_report(tmp_path / "c.json", {}, branch=False))])
