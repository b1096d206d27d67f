"""The histogram against exact percentiles of the same durations."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_trio.telemetry import LogHistogram
from hermes_trio.telemetry.histogram import LARGEST_S, RELATIVE_ERROR, SMALLEST_S

in_range = st.floats(min_value=SMALLEST_S, max_value=LARGEST_S)
any_duration = st.floats(min_value=0, max_value=1e9)
ROUNDING = 1e-9


def filled(durations: list[float]) -> LogHistogram:
    """A histogram with these durations in it."""
    histogram = LogHistogram()
    for duration in durations:
        histogram.record(duration)
    return histogram


@given(st.lists(in_range, min_size=1, max_size=60), st.integers(1, 100))
@settings(max_examples=150)
def test_percentiles_are_within_the_promised_error_of_the_exact_ones(
    durations: list[float], percent: int
) -> None:
    """Nearest rank on the sorted list is the oracle."""
    exact = sorted(durations)[math.ceil(percent * len(durations) / 100) - 1]
    answer = filled(durations).percentile(percent)
    assert abs(answer - exact) <= exact * (RELATIVE_ERROR + ROUNDING)


@given(st.lists(any_duration, max_size=40), st.lists(any_duration, max_size=40))
@settings(max_examples=80)
def test_merging_equals_recording_everything_in_one(left: list[float], right: list[float]) -> None:
    """Merging loses nothing that one histogram would have kept."""
    merged = filled(left)
    merged.merge(filled(right))
    together, apart = filled(left + right).snapshot(), merged.snapshot()
    assert apart.buckets == together.buckets
    assert (apart.count, apart.min_s, apart.max_s) == (together.count, together.min_s, together.max_s)
    assert math.isclose(apart.total_s, together.total_s)


@given(st.lists(any_duration, max_size=40))
@settings(max_examples=80)
def test_mapping_is_a_round_trip(durations: list[float]) -> None:
    """Stored and read back, a histogram is the same."""
    histogram = filled(durations)
    assert LogHistogram.from_mapping(histogram.to_mapping()).snapshot() == histogram.snapshot()


@given(st.lists(any_duration, min_size=1, max_size=40), st.floats(0, 100), st.floats(0, 100))
@settings(max_examples=80)
def test_percentiles_grow_with_the_percent_and_stay_within_the_extremes(
    durations: list[float], one: float, other: float
) -> None:
    """A higher percent never gives a smaller answer."""
    histogram = filled(durations)
    low, high = histogram.percentile(min(one, other)), histogram.percentile(max(one, other))
    assert min(durations) <= low <= high <= max(durations)
