"""The benchmark of telling runs, its daemon in memory; its figures are not judged here."""

from __future__ import annotations

import pytest

from benchmarks.micro.telemetry import ARMS, run

pytestmark = pytest.mark.slow


async def test_the_telemetry_benchmark_measures_every_arm() -> None:
    """One round; a call tells what it goes through."""
    tally = await run("in_memory", rounds=1, seconds=0.05, trajectories=2)
    findings = tally.findings()
    assert all(findings[f"{name}_calls_per_s"] > 0 for name in ARMS)
    assert findings["events_per_call"] >= 3
    assert set(tally.to_mapping()) == {"findings", "slices"}
