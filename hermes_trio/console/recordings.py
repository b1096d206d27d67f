"""PURE. Terminal sessions that were watched from a console, as asciicast files in memory, bounded.

The format is asciicast v2 (a JSON header, then a JSON line for each piece of output), which every player of
asciinema's plays. Source: https://docs.asciinema.org/manual/asciicast/v2/
"""

from __future__ import annotations

import codecs
from collections import OrderedDict
from typing import Any, Final

import orjson
from attrs import define, field

MAX_RECORDINGS: Final = 32
MAX_BYTES: Final = 1024 * 1024
"""Of one recording; what comes after is left out, and it says that it was cut."""


@define(eq=False, kw_only=True)
class Recording:
    """One session, while it is recorded and after."""

    id: str
    trajectory: str
    began: float
    columns: int
    rows: int
    max_bytes: int = MAX_BYTES
    duration_s: float = field(default=0.0, init=False)
    cut: bool = field(default=False, init=False)
    size_bytes: int = field(default=0, init=False)
    _lines: list[bytes] = field(factory=list, init=False)
    # A character may lie across two pieces.
    _decoder: codecs.IncrementalDecoder = field(
        factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"), init=False
    )

    def output(self, data: bytes, *, now: float) -> None:
        """The terminal printed something."""
        self._add("o", self._decoder.decode(data), now)

    def resized(self, columns: int, rows: int, *, now: float) -> None:
        """The terminal has another size."""
        self._add("r", f"{columns}x{rows}", now)

    def text(self) -> str:
        """The whole file."""
        header = {
            "version": 2,
            "width": self.columns,
            "height": self.rows,
            "title": self.trajectory,
            "env": {"TERM": "xterm-256color"},
        }
        return b"\n".join([orjson.dumps(header), *self._lines, b""]).decode()

    def row(self) -> dict[str, Any]:
        """For a list of recordings."""
        return {
            "id": self.id,
            "trajectory": self.trajectory,
            "began": self.began,
            "duration_s": self.duration_s,
            "bytes": self.size_bytes,
            "cut": self.cut,
        }

    def _add(self, kind: str, text: str, now: float) -> None:
        if not text:
            return
        at = max(0.0, now - self.began)
        line = orjson.dumps([round(at, 6), kind, text])
        if self.size_bytes + len(line) > self.max_bytes:
            self.cut = True
            return
        self.duration_s = at
        self.size_bytes += len(line) + 1
        self._lines.append(line)


@define(eq=False)
class Recordings:
    """The newest recordings."""

    max_recordings: int = MAX_RECORDINGS
    _known: OrderedDict[str, Recording] = field(factory=OrderedDict, init=False)
    _count: int = field(default=0, init=False)

    def begin(self, trajectory: str, *, columns: int, rows: int, now: float) -> Recording:
        """A session begins; the oldest recording makes room."""
        self._count += 1
        recording = Recording(
            id=f"console-{self._count}", trajectory=trajectory, began=now, columns=columns, rows=rows
        )
        self._known[recording.id] = recording
        if len(self._known) > self.max_recordings:
            self._known.popitem(last=False)
        return recording

    def find(self, id_: str) -> Recording | None:
        """By its id."""
        return self._known.get(id_)

    def rows(self) -> list[dict[str, Any]]:
        """Newest first."""
        return [each.row() for each in reversed(self._known.values())]
