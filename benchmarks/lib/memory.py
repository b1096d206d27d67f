"""Whether a process's memory stays flat: a few points of it over the work, and a line through them. PURE."""

from __future__ import annotations

from statistics import linear_regression
from typing import Any

from attrs import define, field, frozen

MAX_DRIFT_MIB = 5.0
"""What the product promises: no more than this after warm-up, however many calls follow."""
MAX_SLOPE_BYTES = 400.0
"""A call, where enough of them were made. What is left when nothing leaks is the allocator's: 164 in 6,304
calls, 18 in 25,000; before its two causes were mended, the executor's was 653 and more."""
_ENOUGH_CALLS = 5000
"""With fewer, the line is that of an allocator which is still filling up, or of one large output."""
_MIB = 5.0
"""What the product promises: no more than this after warm-up, however many calls follow."""
MAX_SLOPE_BYTES = 256.0
"""A call, where enough of them were made: less than one small object kept of each. What is left when nothing
leaks is the allocator's, which was seen to move by a fifth of this."""
_ENOUGH_CALLS = 2000
"""With fewer, one command that prints a lot tilts the line."""
_MIB = 1024 * 1024


@frozen(kw_only=True)
class Drift:
    """The line of least squares through the points after warm-up."""

    calls: int
    """From its first point to its last."""
    slope_bytes: float
    """A call."""

    @property
    def mib(self) -> float:
        """How much it rises over these calls."""
        return self.slope_bytes * self.calls / _MIB

    def objection(self, who: str) -> str | None:
        """Why this is not flat, if it is not."""
        too_steep = self.calls >= _ENOUGH_CALLS and self.slope_bytes > MAX_SLOPE_BYTES
        if self.mib <= MAX_DRIFT_MIB and not too_steep:
            return None
        return (
            f"memory of the {who} is not flat: {self.mib:.1f} MiB over {self.calls} calls after warm-up "
            f"(at most {MAX_DRIFT_MIB:g}), {self.slope_bytes:.0f} bytes a call (at most {MAX_SLOPE_BYTES:g})"
        )


@define
class MemorySeries:
    """A process's own memory at several points of the work."""

    calls: list[int] = field(factory=list)
    sizes: list[int] = field(factory=list)
    """Bytes."""

    def record(self, calls: int, size: int) -> None:
        """Takes one point; ``0`` bytes mean that nobody was there."""
        if size:
            self.calls.append(calls)
            self.sizes.append(size)

    def drift(self, *, warm_after: int) -> Drift | None:
        """The line from so many calls on; ``None`` when there are not two points to draw it through."""
        warm = [
            (calls, size) for calls, size in zip(self.calls, self.sizes, strict=True) if calls >= warm_after
        ]
        if len({calls for calls, _ in warm}) < 2:
            return None
        calls, sizes = zip(*warm, strict=True)
        return Drift(calls=max(calls) - min(calls), slope_bytes=linear_regression(calls, sizes).slope)

    def to_mapping(self) -> dict[str, Any]:
        """For the report."""
        return {"calls": list(self.calls), "mib": [round(size / _MIB, 2) for size in self.sizes]}
