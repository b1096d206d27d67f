"""PURE. Terminal sessions as asciicast files in memory, bounded: what was watched, and slots' own terminals.

A slot's terminal is recorded by its daemon from its beginning on, whoever uses it; that recording is fetched
piece by piece while somebody watches, so that it can still be played when the slot was given back.

The format is asciicast v2 (a JSON header, then a JSON line for each piece of output), which every player of
asciinema's plays. Source: https://docs.asciinema.org/manual/asciicast/v2/
"""

from __future__ import annotations

import codecs
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

import orjson
from attrs import define, field

MAX_RECORDINGS: Final = 32
MAX_BYTES: Final = 1024 * 1024
"""Of one recording; what comes after is left out, and it says that it was cut."""
MAX_FETCHED: Final = 1024
MAX_FETCHED_BYTES: Final = 4 * 1024 * 1024
"""Of one that a daemon made; those that are over make room first."""
MAX_HELD_BYTES: Final = 32 * 1024 * 1024
"""Of all of these."""


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
            "origin": "console",
            "live": False,
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


@define(eq=False, kw_only=True)
class FetchedRecording:
    """The recording of a slot's terminal, as far as it was fetched from the daemon."""

    id: str
    trajectory: str
    terminal: str
    began: float
    """When it was seen first; once its head was read, when it began."""
    live: bool = True
    max_bytes: int = MAX_FETCHED_BYTES
    offset: int = field(default=0, init=False)
    """Where the next piece begins."""
    duration_s: float = field(default=0.0, init=False)
    _pieces: list[bytes] = field(factory=list, init=False)

    @property
    def cut(self) -> bool:
        """There may be more, and it is not fetched."""
        return self.offset >= self.max_bytes

    def take(self, piece: bytes, *, at: int, wall_offset_s: float = 0.0) -> None:
        """Whole lines from byte ``at`` on. A piece that was fetched twice counts once.

        Args:
            piece: the lines.
            at: of the daemon's file.
            wall_offset_s: what the world's clock is ahead of that of ``began``.
        """
        if at != self.offset or not piece:
            return
        if at == 0:
            self.began = _timestamp(piece, default=self.began + wall_offset_s) - wall_offset_s
        self._pieces.append(piece)
        self.offset += len(piece)
        last = _parsed(piece.rstrip(b"\n").rpartition(b"\n")[2])
        if isinstance(last, list) and last and isinstance(last[0], (int, float)):
            self.duration_s = float(last[0])

    def text(self) -> str:
        """The whole file, as far as it is here."""
        return b"".join(self._pieces).decode("utf-8", "replace")

    def row(self) -> dict[str, Any]:
        """For a list of recordings."""
        return {
            "id": self.id,
            "trajectory": self.trajectory,
            "origin": self.terminal,
            "live": self.live,
            "began": self.began,
            "duration_s": self.duration_s,
            "bytes": self.offset,
            "cut": self.cut,
        }


def _timestamp(piece: bytes, *, default: float) -> float:
    header = _parsed(piece.partition(b"\n")[0])
    told = header.get("timestamp") if isinstance(header, dict) else None
    return float(told) if isinstance(told, (int, float)) else default


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


@define(eq=False)
class Recordings:
    """The newest recordings."""

    max_recordings: int = MAX_RECORDINGS
    max_fetched: int = MAX_FETCHED
    max_held_bytes: int = MAX_HELD_BYTES
    _fetched: OrderedDict[int, FetchedRecording] = field(factory=OrderedDict, init=False)
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

    def see(self, terminals: Iterable[tuple[int, str, str]], *, now: float) -> None:
        """These terminals of slots are alive: number, trajectory, name. The others are over."""
        alive = {number: (trajectory, name) for number, trajectory, name in terminals}
        for number, known in self._fetched.items():
            known.live = number in alive
        for number, (trajectory, name) in alive.items():
            if number not in self._fetched:
                self._fetched[number] = FetchedRecording(
                    id=f"slot-{number}", trajectory=trajectory, terminal=name, began=now
                )
        self._make_room()

    def to_fetch(self, most: int) -> list[FetchedRecording]:
        """Live ones of which there may be more, those that have waited longest first."""
        if self.held_bytes >= self.max_held_bytes:
            return []
        found = [each for each in self._fetched.items() if each[1].live and not each[1].cut][:most]
        for number, _ in found:
            self._fetched.move_to_end(number)
        return [recording for _, recording in found]

    @property
    def held_bytes(self) -> int:
        """Of what was fetched."""
        return sum(each.offset for each in self._fetched.values())

    def _make_room(self) -> None:
        """Those that are over go first, and of those the empty ones at once: nobody can play them."""
        over = sorted(
            (number for number, each in self._fetched.items() if not each.live),
            key=lambda number: (self._fetched[number].offset > 0, number),
        )
        held = self.held_bytes
        for number in over:
            is_empty = not self._fetched[number].offset
            if not is_empty and held < self.max_held_bytes and len(self._fetched) <= self.max_fetched:
                break
            held -= self._fetched.pop(number).offset
        while len(self._fetched) > self.max_fetched:
            self._fetched.popitem(last=False)

    def find(self, id_: str) -> Recording | FetchedRecording | None:
        """By its id."""
        fetched = next((each for each in self._fetched.values() if each.id == id_), None)
        return fetched or self._known.get(id_)

    def rows(self) -> list[dict[str, Any]]:
        """Those that are alive first, then the newest."""
        rows = [each.row() for each in reversed(self._known.values())]
        rows += [each.row() for each in self._fetched.values()]
        return sorted(rows, key=lambda row: (not row["live"], -row["began"]))
