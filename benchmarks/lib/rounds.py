"""Interleaved rounds and what is said of them. PURE.

Theory of operation. A shared machine drifts: figures taken minutes apart differ by more than the arms do.
So every round measures every contender, the order turns by one each round, and a comparison is the *median
of the ratios within rounds*, never the ratio of two figures from different moments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

from attrs import frozen

from benchmarks.lib.load import LaneResult

T = TypeVar("T")

Metric = Callable[[LaneResult], float]


def p50_ms(result: LaneResult) -> float:
    """Median latency in milliseconds."""
    return result.latency.percentile(50) * 1e3


def p95_ms(result: LaneResult) -> float:
    """95th percentile of latency in milliseconds."""
    return result.latency.percentile(95) * 1e3


def p99_ms(result: LaneResult) -> float:
    """99th percentile of latency in milliseconds."""
    return result.latency.percentile(99) * 1e3


def calls_per_s(result: LaneResult) -> float:
    """Throughput."""
    return result.calls_per_s


@frozen(kw_only=True)
class Summary:
    """Medians over rounds, and how far apart the rounds were."""

    rounds: int
    calls: int
    """Of all rounds together."""
    failed: int
    """Of all rounds together."""
    calls_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    """The worst of all rounds; not a median."""
    p50_lowest_ms: float
    p50_highest_ms: float


def turned(items: Sequence[T], by: int) -> tuple[T, ...]:
    """The items, starting ``by`` places later: everyone is first, and last, equally often."""
    if not items:
        return ()
    start = by % len(items)
    return (*items[start:], *items[:start])


def summarise(rounds: Sequence[LaneResult]) -> Summary:
    """Medians over at least one round.

    Raises:
        ValueError: there is no round.
    """
    if not rounds:
        raise ValueError("no rounds to summarise")
    middles = [p50_ms(result) for result in rounds]
    return Summary(
        rounds=len(rounds),
        calls=sum(result.calls for result in rounds),
        failed=sum(result.failed for result in rounds),
        calls_per_s=median(map(calls_per_s, rounds)),
        p50_ms=median(middles),
        p95_ms=median(map(p95_ms, rounds)),
        p99_ms=median(map(p99_ms, rounds)),
        max_ms=max(result.latency.max_s for result in rounds) * 1e3,
        p50_lowest_ms=min(middles),
        p50_highest_ms=max(middles),
    )


def ratio(rounds: Sequence[LaneResult], baseline: Sequence[LaneResult], metric: Metric) -> float | None:
    """Median over rounds of ``metric(round) / metric(the baseline's same round)``.

    Returns:
        ``None`` when the two have no common round in which the baseline's figure is above zero.
    """
    pairs = [(metric(one), metric(other)) for one, other in zip(rounds, baseline, strict=False)]
    ratios = [one / other for one, other in pairs if other > 0]
    return median(ratios) if ratios else None


def difference(rounds: Sequence[LaneResult], baseline: Sequence[LaneResult], metric: Metric) -> float | None:
    """Median over rounds of ``metric(round) - metric(baseline's same round)``; ``None`` without a pair."""
    pairs = zip(rounds, baseline, strict=False)
    differences = [metric(one) - metric(other) for one, other in pairs]
    return median(differences) if differences else None
