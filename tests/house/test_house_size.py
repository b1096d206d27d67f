"""Sizes: a function fits a screen, a file has one subject. Only the upper bound is a gate."""

from __future__ import annotations

import statistics

from house import rooms, sources


def _percentile(ordered: list[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _function_line(directory: str) -> str:
    lengths = sorted(
        function.lines for module in sources.modules(directory) for function in sources.functions(module)
    )
    if not lengths:
        return f"{directory}: no functions"
    median, p90, p99 = statistics.median_low(lengths), _percentile(lengths, 0.9), _percentile(lengths, 0.99)
    return (
        f"{directory}: {len(sources.modules(directory))} files, {len(lengths)} functions; "
        f"lines of a function: median {median}, p90 {p90}, p99 {p99}, max {lengths[-1]}"
    )


def _long_file_lines() -> list[str]:
    long = [
        module
        for module in sources.modules(*rooms.PACKAGES, "benchmarks", "scripts", "tests")
        if module.lines > rooms.WANTED_FILE_LINES
    ]
    return [
        f"{module.lines:4} lines: {module.where}" for module in sorted(long, key=lambda each: -each.lines)
    ]


def test_no_file_is_two_rooms(house_report: list[str]) -> None:
    """The report names what is long; what is too long fails."""
    house_report.extend(
        [_function_line(directory) for directory in (*rooms.PACKAGES, "benchmarks")] + _long_file_lines()
    )
    too_long = [
        f"{module.where}: {module.lines} lines"
        for module in sources.modules(*rooms.PACKAGES, "benchmarks", "scripts", "tests")
        if module.lines > rooms.MAX_FILE_LINES
    ]
    assert not too_long, "\n".join(too_long)
