"""The parsers' benchmark runs; its figures are not judged here."""

from __future__ import annotations

import json

import pytest

from benchmarks.micro.parsers import TEXTS, main


def test_the_parsers_benchmark_reports_each_text_in_two_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON and as lines."""
    assert main(["--smoke", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in report["texts"]] == [name for name in TEXTS for _ in range(2)]
    assert main(["--smoke"]) == 0
    assert "ns/char" in capsys.readouterr().out
