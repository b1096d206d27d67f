"""Rounds: interleaved fairly, summed up by medians, compared within rounds only."""

from __future__ import annotations

import pytest

from benchmarks.lib.load import LaneResult
from benchmarks.lib.rounds import calls_per_s, difference, p50_ms, p95_ms, p99_ms, ratio, summarise, turned
from hermes_trio.telemetry import LogHistogram

WITHIN = 0.02
"""The histogram's error."""


def lane(*latencies_s: float, wall_s: float = 1.0, failed: int = 0) -> LaneResult:
    """A round with these latencies."""
    histogram = LogHistogram()
    for latency in latencies_s:
        histogram.record(latency)
    failures = {"because": failed} if failed else {}
    return LaneResult(
        lane="all", calls=len(latencies_s), failures=failures, wall_s=wall_s, latency=histogram.snapshot()
    )


def test_every_contender_is_first_and_last_equally_often() -> None:
    """Whoever goes first finds caches cold: turning the order shares that out."""
    orders = [turned("abc", number) for number in range(3)]
    assert orders == [("a", "b", "c"), ("b", "c", "a"), ("c", "a", "b")]
    assert turned("abc", 3) == ("a", "b", "c")
    assert turned("", 5) == ()


def test_summary_takes_medians_of_rounds_not_of_calls() -> None:
    """One bad round of many calls must not outvote two good rounds of few."""
    summary = summarise([lane(0.001), lane(0.002), lane(*[1.0] * 50, wall_s=50)])
    assert summary.p50_ms == pytest.approx(2, rel=WITHIN)
    assert (summary.rounds, summary.calls) == (3, 52)
    assert summary.calls_per_s == 1.0
    assert summary.max_ms == 1000
    assert (summary.p50_lowest_ms, summary.p50_highest_ms) == (1.0, 1000.0)


def test_summary_adds_failures_up() -> None:
    """A failure in any round is a failure of the measurement."""
    assert summarise([lane(0.1, 0.1, failed=1), lane(0.1, failed=1)]).failed == 2


def test_no_rounds_are_no_summary() -> None:
    """There is no median of nothing."""
    with pytest.raises(ValueError, match="no rounds"):
        summarise([])


def test_ratio_is_the_median_of_ratios_within_rounds() -> None:
    """The machine became ten times slower between rounds; the ratio does not notice."""
    ours = [lane(0.002), lane(0.020), lane(0.2)]
    theirs = [lane(0.001), lane(0.010), lane(0.1)]
    assert ratio(ours, theirs, p50_ms) == pytest.approx(2, rel=2 * WITHIN)


def test_one_disturbed_round_does_not_move_the_ratio() -> None:
    """The median takes the middle of 1, 2 and 50."""
    ours = [lane(0.001), lane(0.002), lane(0.050)]
    assert ratio(ours, [lane(0.001)] * 3, p50_ms) == pytest.approx(2, rel=2 * WITHIN)


def test_ratio_without_a_common_round_is_not_known() -> None:
    """Neither an absent arm nor one that did nothing is a divisor."""
    assert ratio([lane(0.1)], [], p50_ms) is None
    assert ratio([lane(0.1)], [lane(0.1, wall_s=0)], calls_per_s) is None


def test_difference_is_the_median_within_rounds() -> None:
    """As the ratio, for questions that are about milliseconds."""
    found = difference([lane(0.003), lane(0.013)], [lane(0.002), lane(0.012)], p50_ms)
    assert found == pytest.approx(1, rel=1e-6)
    assert difference([], [], p50_ms) is None


def test_percentiles_are_those_of_the_round() -> None:
    """Hundred calls, of which six are slow: the median is not, the 95th is."""
    result = lane(*[0.001] * 94, *[0.1] * 5, 1.0)
    assert p50_ms(result) == pytest.approx(1, rel=WITHIN)
    assert p95_ms(result) == pytest.approx(100, rel=WITHIN)
    assert p99_ms(result) == pytest.approx(100, rel=WITHIN)


def test_a_round_that_took_no_time_has_no_rate() -> None:
    """Zero, rather than a division by it."""
    assert lane(wall_s=0).calls_per_s == 0.0
