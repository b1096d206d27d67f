"""PURE. What a command printed, as bytes: each stream by itself, and both in the order in which they came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import field, frozen

_FIRST_RUNS = 256
"""Of a long alternation, so many runs are told from its beginning; the rest are its end."""


@frozen(kw_only=True)
class Streams:
    """Standard output and standard error.

    Of a stream that was cut, the first ``head_bytes`` are its head and the rest is its tail.

    Args:
        stdout: as kept.
        stderr: likewise.
        stdout_bytes: printed in all.
        stderr_bytes: likewise.
        head_bytes: of a stream that was cut.
        order: runs of (1 or 2, bytes); empty when only one stream said something.
    """

    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)
    stdout_bytes: int
    stderr_bytes: int
    head_bytes: int
    order: Sequence[Sequence[int]] = field(default=(), repr=False)

    def interleaved(self) -> list[tuple[int, bytes]]:
        """What was kept of both, as pieces of (1 or 2, bytes), in the order in which the daemon read them."""
        if not self.order:
            return [(number, data) for number, data in ((1, self.stdout), (2, self.stderr)) if data]
        pieces = ((stream, self._kept(stream, start, end)) for stream, start, end in self._places())
        return [(stream, data) for stream, data in pieces if data]

    def _places(self) -> Iterator[tuple[int, int, int]]:
        """Stream, begin and end of each run."""
        runs = [(stream, size) for stream, size in self.order]
        totals = {1: self.stdout_bytes, 2: self.stderr_bytes}
        told = {stream: sum(size for at, size in runs if at == stream) for stream in totals}
        first, last = (runs, []) if told == totals else (runs[:_FIRST_RUNS], runs[_FIRST_RUNS:])
        yield from _laid_out(first, {1: 0, 2: 0})
        ends = {stream: sum(size for at, size in last if at == stream) for stream in totals}
        yield from _laid_out(last, {stream: totals[stream] - ends[stream] for stream in totals})

    def _kept(self, stream: int, start: int, end: int) -> bytes:
        """Bytes ``start`` to ``end`` of a stream, as far as they were kept."""
        data, total = (self.stdout, self.stdout_bytes) if stream == 1 else (self.stderr, self.stderr_bytes)
        missing = total - len(data)
        if not missing:
            return data[start:end]
        after = self.head_bytes + missing
        head = data[start : min(end, self.head_bytes)]
        return head + data[max(start, after) - missing : max(end, after) - missing]


def _laid_out(runs: Sequence[tuple[int, int]], at: dict[int, int]) -> Iterator[tuple[int, int, int]]:
    for stream, size in runs:
        yield stream, at[stream], at[stream] + size
        at[stream] += size
