"""The codec's benchmark runs; its figures are not judged here."""

from __future__ import annotations

import json

import pytest

from benchmarks.micro.codec import FRAMES, main


def test_the_codec_benchmark_reports_each_frame(capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON and as lines."""
    assert main(["--smoke", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in report["frames"]] == list(FRAMES)
    assert report["round_trip_us"] > 0
    assert main(["--smoke"]) == 0
    assert "call, accepted, result through two sessions" in capsys.readouterr().out
