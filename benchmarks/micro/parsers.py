"""What reading tool calls in text costs: nanoseconds a character, for texts of one size and of ten times it.

``python -m benchmarks.micro.parsers [--smoke] [--json]``. Two figures of one text that differ much would mean
that the cost grows faster than the text. Processor time, best of several rounds.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Mapping
from typing import Final

from attrs import asdict, frozen

from benchmarks.micro.codec import cost_us
from hermes_trio.models.parsers import ToolCallParser, get_parser

PIECE_CHARS = 4
"""About a token."""


def _call(command: str) -> str:
    return f'<tool_call>{{"name": "bash", "arguments": {{"command": "{command}"}}}}</tool_call>'


TEXTS: Final[Mapping[str, tuple[str, Callable[[int], str]]]] = {
    "prose": ("hermes", lambda size: "I look at it. " * (size // 14)),
    "one call, long string": ("hermes", lambda size: _call("echo hello\\n" * (size // 12))),
    "many small calls": ("hermes", lambda size: _call("ls") * (size // len(_call("ls")))),
    "structure": ("hermes", lambda size: '<tool_call>a{"x": [' + "0," * (size // 2)),
    "markers only": ("hermes", lambda size: "<tool_call>" * (size // 11)),
    "tags in a value": (
        "qwen3_coder",
        lambda size: "<tool_call><function=a><parameter=b>" + "</parameter>\n" * (size // 13),
    ),
}


@frozen(kw_only=True)
class Figure:
    """One row of the report."""

    name: str
    chars: int
    whole_ns_per_char: float
    streamed_ns_per_char: float
    """In pieces of about a token."""


def _stream(parser: ToolCallParser, text: str) -> None:
    session = parser.session()
    for start in range(0, len(text), PIECE_CHARS):
        session.feed(text[start : start + PIECE_CHARS])
    session.finish()


def measure(name: str, *, size: int, rounds: int) -> Figure:
    """Read one of the texts, whole and streamed."""
    dialect, write = TEXTS[name]
    parser, text = get_parser(dialect), write(size)
    whole_us = cost_us(lambda: parser.parse_detailed(text), count=1, rounds=rounds)
    streamed_us = cost_us(lambda: _stream(parser, text), count=1, rounds=rounds)
    return Figure(
        name=name,
        chars=len(text),
        whole_ns_per_char=whole_us * 1000 / len(text),
        streamed_ns_per_char=streamed_us * 1000 / len(text),
    )


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro.parsers", description=__doc__)
    parser.add_argument(
        "--smoke", action="store_true", help="small texts only: it works, the figures mean little"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    sizes, rounds = ((1_000, 2_000), 1) if options.smoke else ((100_000, 1_000_000), 3)
    figures = [measure(name, size=size, rounds=rounds) for name in TEXTS for size in sizes]
    if options.json:
        rows = [asdict(figure) for figure in figures]
        print(json.dumps({"python": platform.python_version(), "texts": rows}, indent=2))
        return 0
    for figure in figures:
        print(
            f"{figure.name:<24}{figure.chars:>9} chars  whole {figure.whole_ns_per_char:8.1f} ns/char"
            f"  streamed {figure.streamed_ns_per_char:8.1f} ns/char"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
