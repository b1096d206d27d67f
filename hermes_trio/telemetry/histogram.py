"""Latency histograms that never grow: logarithmic buckets, a fixed number of them.

Theory of operation. Bucket ``i`` holds the durations above ``SMALLEST_S * GAMMA**(i-1)`` and up to
``SMALLEST_S * GAMMA**i``; bucket 0 everything up to ``SMALLEST_S``, the last one everything above
``LARGEST_S``. A percentile is found by walking the counts and answered with the bucket's point of least
relative error, ``2 * upper / (1 + GAMMA)``, so that no answer inside the range is off by more than
``RELATIVE_ERROR`` (DDSketch, Masson et al., VLDB 2019, with a fixed range instead of collapsing buckets: a
fixed range merges without loss and cannot be inflated by one absurd value). Smallest, largest, count and sum
are exact, and answers are held between the exact extremes.

PURE: no clock, no randomness; durations are arguments.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final

from attrs import frozen

SMALLEST_S: Final = 1e-6
LARGEST_S: Final = 1e4
GAMMA: Final = 1.04
"""Ratio of neighbouring bucket borders."""
RELATIVE_ERROR: Final = (GAMMA - 1) / (GAMMA + 1)
"""1.96 %: the worst error of a percentile inside the range."""

_PER_LOG: Final = 1 / math.log(GAMMA)
_BUCKETS: Final = math.ceil(math.log(LARGEST_S / SMALLEST_S) * _PER_LOG) + 2
"""590: 4.7 KB a histogram."""
_LAST: Final = _BUCKETS - 1
SCHEME: Final = f"log-{GAMMA}-{SMALLEST_S:g}-{LARGEST_S:g}"
"""Names the borders in stored histograms: counts of other borders are refused, not mixed in."""


def bucket_upper_s(index: int) -> float:
    """The inclusive upper border of a bucket in seconds; infinity for the last one."""
    return math.inf if index >= _LAST else SMALLEST_S * GAMMA**index


def _bucket_point_s(index: int) -> float:
    """The value that stands for a bucket; callers hold it between the exact extremes."""
    return bucket_upper_s(index) * 2 / (1 + GAMMA)


@frozen(kw_only=True)
class HistogramSnapshot:
    """What a histogram held at one moment. Cheap to keep, to send and to compare."""

    count: int
    total_s: float
    """Sum of all durations."""
    min_s: float
    """Exact smallest duration; 0 when nothing was recorded."""
    max_s: float
    """Exact largest duration; 0 when nothing was recorded."""
    buckets: tuple[tuple[int, int], ...]
    """``(bucket index, count)`` of the buckets that are not empty, by index."""

    @property
    def mean_s(self) -> float:
        """Exact mean; 0 when nothing was recorded."""
        return self.total_s / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """The duration that ``percent`` of them do not exceed; see :meth:`LogHistogram.percentile`."""
        return _nth_smallest(_rank(percent, self.count), self)

    def to_mapping(self) -> dict[str, Any]:
        """JSON values only; :meth:`from_mapping` is the way back."""
        return {
            "scheme": SCHEME,
            "count": self.count,
            "total_s": self.total_s,
            "min_s": self.min_s,
            "max_s": self.max_s,
            "buckets": [list(pair) for pair in self.buckets],
        }

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> HistogramSnapshot:
        """Reads what :meth:`to_mapping` wrote.

        Raises:
            ValueError: the mapping is not a histogram, has other borders, or its counts do not add up.
        """
        if mapping.get("scheme") != SCHEME:
            raise ValueError(f"not a histogram of scheme {SCHEME}: {mapping.get('scheme')!r}")
        try:
            buckets = tuple((int(index), int(count)) for index, count in mapping["buckets"])
            snapshot = cls(
                count=int(mapping["count"]),
                total_s=float(mapping["total_s"]),
                min_s=float(mapping["min_s"]),
                max_s=float(mapping["max_s"]),
                buckets=buckets,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a histogram: {error!r}") from error
        _check_buckets(snapshot)
        return snapshot


class LogHistogram:
    """Durations in seconds, counted in a fixed number of logarithmic buckets.

    Memory is constant (below 5 KB), recording takes a few hundred nanoseconds and never allocates buckets.
    Not safe for use from several threads at once.
    """

    __slots__ = ("_count", "_counts", "_max_s", "_min_s", "_total_s")

    def __init__(self) -> None:
        self._counts = array("Q", [0]) * _BUCKETS
        self._count = 0
        self._total_s = 0.0
        self._min_s = math.inf
        self._max_s = 0.0

    def __repr__(self) -> str:
        if not self._count:
            return "<LogHistogram empty>"
        figures = " ".join(f"p{p}={self.percentile(p) * 1e3:.3g}ms" for p in (50, 95, 99))
        return f"<LogHistogram n={self._count} {figures} max={self._max_s * 1e3:.3g}ms>"

    @property
    def count(self) -> int:
        """How many durations were recorded."""
        return self._count

    @property
    def total_s(self) -> float:
        """Sum of all durations."""
        return self._total_s

    @property
    def min_s(self) -> float:
        """Exact smallest duration; 0 when nothing was recorded."""
        return self._min_s if self._count else 0.0

    @property
    def max_s(self) -> float:
        """Exact largest duration; 0 when nothing was recorded."""
        return self._max_s

    def record(self, seconds: float) -> None:
        """Counts one duration.

        Raises:
            ValueError: ``seconds`` is negative, infinite or not a number. Nothing was counted.
        """
        if seconds <= SMALLEST_S:
            if seconds < 0:
                raise ValueError(f"a duration is finite and not negative: {seconds}")
            index = 0
        elif seconds <= LARGEST_S:
            index = math.ceil(math.log(seconds / SMALLEST_S) * _PER_LOG)
        elif seconds < math.inf:
            index = _LAST
        else:
            raise ValueError(f"a duration is finite and not negative: {seconds}")
        self._counts[index] += 1
        self._count += 1
        self._total_s += seconds
        if seconds > self._max_s:
            self._max_s = seconds
        if seconds < self._min_s:
            self._min_s = seconds

    def percentile(self, percent: float) -> float:
        """The duration that ``percent`` of the recorded ones do not exceed (nearest rank).

        Args:
            percent: 0 to 100; 50 is the median, 0 the smallest, 100 the largest.

        Returns:
            Seconds, off by at most :data:`RELATIVE_ERROR` between 1 µs and 10,000 s; exact for 0 and 100;
            0.0 when nothing was recorded.

        Raises:
            ValueError: ``percent`` is outside 0..100.
        """
        return self.snapshot().percentile(percent)

    def merge(self, other: LogHistogram | HistogramSnapshot) -> None:
        """Adds everything ``other`` counted, without loss. ``other`` stays as it is."""
        snapshot = other.snapshot() if isinstance(other, LogHistogram) else other
        for index, count in snapshot.buckets:
            self._counts[index] += count
        if snapshot.count:
            self._min_s = min(self._min_s, snapshot.min_s)
            self._max_s = max(self._max_s, snapshot.max_s)
        self._count += snapshot.count
        self._total_s += snapshot.total_s

    def snapshot(self) -> HistogramSnapshot:
        """A frozen copy of this moment."""
        return HistogramSnapshot(
            count=self._count,
            total_s=self._total_s,
            min_s=self.min_s,
            max_s=self._max_s,
            buckets=tuple((index, count) for index, count in enumerate(self._counts) if count),
        )

    def to_mapping(self) -> dict[str, Any]:
        """JSON values only; :meth:`from_mapping` is the way back."""
        return self.snapshot().to_mapping()

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> LogHistogram:
        """Reads what :meth:`to_mapping` wrote; it can be recorded into further.

        Raises:
            ValueError: as :meth:`HistogramSnapshot.from_mapping`.
        """
        histogram = cls()
        histogram.merge(HistogramSnapshot.from_mapping(mapping))
        return histogram


def _rank(percent: float, count: int) -> int:
    """Nearest rank, 1-based; 0 asks for the smallest."""
    if not 0 <= percent <= 100:
        raise ValueError(f"a percentile is between 0 and 100: {percent}")
    # The rounding keeps 99.9 % of 1000 at rank 999: percent / 100 * count alone gives 999.0000000000001.
    return math.ceil(round(percent * count / 100, 9))


def _nth_smallest(rank: int, snapshot: HistogramSnapshot) -> float:
    """The first and the last are known exactly; the others by their bucket, held between these two."""
    if rank == 0:
        return snapshot.min_s
    if rank == snapshot.count:
        return snapshot.max_s
    reached = list(accumulate(count for _, count in snapshot.buckets))
    index, _ = snapshot.buckets[bisect_left(reached, rank)]
    return min(max(_bucket_point_s(index), snapshot.min_s), snapshot.max_s)


def _check_buckets(snapshot: HistogramSnapshot) -> None:
    """A stored histogram is input: its counts must be possible before they are added to others."""
    if any(not 0 <= index <= _LAST or count < 0 for index, count in snapshot.buckets):
        raise ValueError("a bucket is outside the scheme's range, or its count is negative")
    if sum(count for _, count in snapshot.buckets) != snapshot.count:
        raise ValueError("the buckets do not add up to the count")
