"""PURE: a terminal's output as asciicast v2, line by line and bounded.

Source: asciinema, "asciicast v2" (docs/asciicast-v2.md).
"""

from __future__ import annotations

import codecs
import json
from typing import Final

FULL: Final = "the recording is full"


class CastWriter:
    """Makes the lines. Nothing more comes of it once ``max_bytes`` are reached, but a marker that says so.

    Args:
        columns: of the terminal at first.
        rows: likewise.
        timestamp: of the beginning, in seconds since 1970.
        max_bytes: of all lines.
    """

    def __init__(self, *, columns: int, rows: int, timestamp: int, max_bytes: int) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._left_bytes = max_bytes
        self.full = False
        header = {
            "version": 2,
            "width": columns,
            "height": rows,
            "timestamp": timestamp,
            "env": {"TERM": "xterm-256color", "SHELL": "/bin/bash"},
        }
        self.header = json.dumps(header, separators=(",", ":")).encode() + b"\n"

    def output(self, at_s: float, data: bytes) -> bytes:
        """The program wrote this; empty when it ends within a character, or the recording is full."""
        text = self._decoder.decode(data)
        return self._event(at_s, "o", text) if text else b""

    def resized(self, at_s: float, *, columns: int, rows: int) -> bytes:
        """The terminal has another size now."""
        return self._event(at_s, "r", f"{columns}x{rows}")

    def _event(self, at_s: float, kind: str, text: str) -> bytes:
        if self.full:
            return b""
        line = _line(at_s, kind, text)
        if len(line) > self._left_bytes:
            self.full = True
            return _line(at_s, "m", FULL)
        self._left_bytes -= len(line)
        return line


def _line(at_s: float, kind: str, text: str) -> bytes:
    return json.dumps([round(at_s, 6), kind, text], separators=(",", ":")).encode() + b"\n"


def whole_lines(data: bytes) -> bytes:
    """Without the line that is not whole."""
    return data[: data.rfind(b"\n") + 1]
