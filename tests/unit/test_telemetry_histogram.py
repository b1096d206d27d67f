"""The histogram's exact parts, its borders, and what it refuses."""

from __future__ import annotations

import json
import math
import sys
from array import array

import pytest

from hermes_trio.telemetry import HistogramSnapshot, LogHistogram
from hermes_trio.telemetry.histogram import LARGEST_S, RELATIVE_ERROR, SMALLEST_S, bucket_upper_s


def filled(*durations: float) -> LogHistogram:
    """A histogram with these durations in it."""
    histogram = LogHistogram()
    for duration in durations:
        histogram.record(duration)
    return histogram


def test_empty_histogram_answers_zero_everywhere() -> None:
    """Nothing recorded is a state, not an error."""
    empty = LogHistogram()
    assert (empty.count, empty.total_s, empty.min_s, empty.max_s) == (0, 0.0, 0.0, 0.0)
    assert [empty.percentile(p) for p in (0, 50, 100)] == [0.0, 0.0, 0.0]
    assert empty.snapshot().mean_s == 0.0
    assert repr(empty) == "<LogHistogram empty>"


def test_extremes_count_and_sum_are_exact() -> None:
    """Only what lies between the extremes is rounded to a bucket."""
    histogram = filled(0.25, 0.001, 3.0)
    assert (histogram.count, histogram.min_s, histogram.max_s) == (3, 0.001, 3.0)
    assert histogram.total_s == pytest.approx(3.251)
    assert histogram.snapshot().mean_s == pytest.approx(3.251 / 3)
    assert histogram.percentile(0) == 0.001
    assert histogram.percentile(100) == 3.0
    assert histogram.percentile(50) == pytest.approx(0.25, rel=RELATIVE_ERROR)


def test_percentile_counts_in_hundreds_not_in_fractions() -> None:
    """99 is the 99th percentile; nearest rank does not slip by rounding."""
    histogram = filled(*[0.001] * 999, 5.0)
    assert histogram.percentile(99.9) == pytest.approx(0.001, rel=RELATIVE_ERROR)
    assert histogram.percentile(99.91) == 5.0


@pytest.mark.parametrize("percent", [-0.1, 100.1, math.nan])
def test_percent_outside_its_range_is_refused(percent: float) -> None:
    """A wrong question gets an error, not an extreme."""
    with pytest.raises(ValueError, match="between 0 and 100"):
        filled(1.0).percentile(percent)


@pytest.mark.parametrize("duration", [-1e-9, math.inf, math.nan, -math.inf])
def test_impossible_durations_are_refused_and_not_counted(duration: float) -> None:
    """A clock that ran backwards is a bug to be seen."""
    histogram = filled(1.0)
    with pytest.raises(ValueError, match="finite and not negative"):
        histogram.record(duration)
    assert histogram.count == 1
    assert histogram.total_s == 1.0


def test_out_of_range_durations_are_held_by_the_exact_extremes() -> None:
    """Below a microsecond and above the range nothing is lost and nothing invented."""
    histogram = filled(0.0, 0.0, 1e-9, 5e4, 5e4, 6e4)
    assert 0.0 <= histogram.percentile(20) <= SMALLEST_S
    assert histogram.percentile(80) == 6e4
    assert bucket_upper_s(0) == SMALLEST_S
    assert bucket_upper_s(10_000) == math.inf


def test_memory_is_constant() -> None:
    """Recording over the whole range allocates no buckets."""
    histogram = LogHistogram()
    counts: array[int] = histogram._counts
    before = sys.getsizeof(counts)
    for exponent in range(-8, 6):
        histogram.record(10.0**exponent)
    assert histogram._counts is counts
    assert sys.getsizeof(counts) == before < 5000
    assert bucket_upper_s(len(counts) - 2) >= LARGEST_S


def test_merge_takes_histograms_and_snapshots_and_leaves_them_alone() -> None:
    """An empty one changes nothing, not even the minimum."""
    left, right = filled(0.5), filled(0.1, 2.0)
    left.merge(LogHistogram())
    assert left.snapshot() == filled(0.5).snapshot()
    left.merge(right)
    left.merge(right.snapshot())
    assert (left.count, left.min_s, left.max_s) == (5, 0.1, 2.0)
    assert right.count == 2


def test_repr_is_one_line_an_operator_can_read() -> None:
    """It names count, percentiles and maximum."""
    assert repr(filled(0.002)) == "<LogHistogram n=1 p50=2ms p95=2ms p99=2ms max=2ms>"


def test_mapping_survives_json_and_can_be_recorded_into() -> None:
    """What was stored comes back equal, and alive."""
    stored = json.loads(json.dumps(filled(0.5, 0.1).to_mapping()))
    histogram = LogHistogram.from_mapping(stored)
    histogram.record(0.2)
    assert histogram.snapshot() == filled(0.5, 0.1, 0.2).snapshot()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheme": "linear"}, "not a histogram of scheme"),
        ({"count": 7}, "do not add up"),
        ({"buckets": [[99_999, 1]]}, "outside the scheme"),
        ({"buckets": [[3, -1], [4, 2]]}, "negative"),
        ({"buckets": [3]}, "not a histogram"),
        ({"count": None}, "not a histogram"),
    ],
)
def test_a_stored_histogram_that_cannot_be_true_is_refused(change: dict[str, object], message: str) -> None:
    """Stored figures are input like any other."""
    with pytest.raises(ValueError, match=message):
        HistogramSnapshot.from_mapping({**filled(1.0).to_mapping(), **change})


def test_missing_field_is_refused() -> None:
    """Each field is needed."""
    mapping = filled(1.0).to_mapping()
    del mapping["total_s"]
    with pytest.raises(ValueError, match="total_s"):
        HistogramSnapshot.from_mapping(mapping)
