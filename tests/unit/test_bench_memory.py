"""When memory counts as flat."""

from __future__ import annotations

import pytest

from benchmarks.lib.memory import MAX_DRIFT_MIB, MAX_SLOPE_BYTES, Drift, MemorySeries

MIB = 1024 * 1024


def series(*sizes: float, step: int = 100) -> MemorySeries:
    """Points after every so many calls."""
    made = MemorySeries()
    for index, size in enumerate(sizes, start=1):
        made.record(index * step, int(size))
    return made


def test_a_line_has_its_own_slope() -> None:
    """And its rise is that of the calls it was drawn over."""
    drift = series(*(30 * MIB + 50 * calls for calls in range(100, 1100, 100))).drift(warm_after=0)
    assert drift is not None
    assert drift.slope_bytes == pytest.approx(50)
    assert drift.calls == 900
    assert drift.mib == pytest.approx(50 * 900 / MIB)


def test_what_warming_up_takes_does_not_count() -> None:
    """Filling the pools is no leak."""
    drift = series(10 * MIB, 29 * MIB, 30 * MIB, 30 * MIB, 30 * MIB).drift(warm_after=300)
    assert drift == Drift(calls=200, slope_bytes=0.0)


def test_one_large_output_is_no_slope() -> None:
    """A single high point in the middle tilts nothing."""
    drift = series(*([30 * MIB] * 10), 60 * MIB, *([30 * MIB] * 10)).drift(warm_after=0)
    assert drift is not None
    assert drift.slope_bytes == pytest.approx(0)


@pytest.mark.parametrize("made", [series(), series(1.0), series(1.0, 1.0, step=0)])
def test_fewer_than_two_points_are_no_line(made: MemorySeries) -> None:
    """Nothing is said, rather than something made up."""
    assert made.drift(warm_after=0) is None


def test_a_process_that_is_gone_leaves_no_point() -> None:
    """It has not shrunk to nothing."""
    assert series(MIB, 0, MIB).to_mapping() == {"calls": [100, 300], "mib": [1.0, 1.0]}


@pytest.mark.parametrize(
    ("calls", "slope_bytes", "flat"),
    [
        (5000, MAX_SLOPE_BYTES, True),
        (5000, MAX_SLOPE_BYTES + 1, False),
        (1000, MAX_SLOPE_BYTES + 1, True),
        (1000, MAX_DRIFT_MIB * MIB / 1000, True),
        (1000, MAX_DRIFT_MIB * MIB / 1000 + 1, False),
        (1_000_000, 6.0, False),
        (5000, -10_000.0, True),
    ],
)
def test_both_bounds_hold_each_where_it_means_something(calls: int, slope_bytes: float, flat: bool) -> None:
    """A short run may be steep by one large output; a long one may not creep beyond the promise."""
    objection = Drift(calls=calls, slope_bytes=slope_bytes).objection("executor")
    assert (objection is None) is flat
    assert flat or str(objection).startswith("memory of the executor is not flat: ")
