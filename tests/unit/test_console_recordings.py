"""Recordings of terminals: asciicast files, bounded."""

from __future__ import annotations

import json

from hermes_trio.console.recordings import Recording, Recordings


def test_a_recording_is_an_asciicast_file() -> None:
    """A character that lies across two pieces is one character."""
    recording = Recordings().begin("t", columns=80, rows=24, now=10.0)
    euro = "€".encode()
    recording.output(b"$ " + euro[:1], now=10.5)
    recording.output(euro[1:], now=11.0)
    recording.resized(100, 30, now=12.0)
    header, *events = (json.loads(line) for line in recording.text().splitlines())
    assert (header["version"], header["width"], header["height"], header["title"]) == (2, 80, 24, "t")
    assert events == [[0.5, "o", "$ "], [1.0, "o", "€"], [2.0, "r", "100x30"]]
    assert recording.row()["duration_s"] == 2.0


def test_a_piece_of_a_character_alone_is_no_line() -> None:
    """It waits for the rest."""
    recording = Recordings().begin("t", columns=80, rows=24, now=0.0)
    recording.output(b"\xe2", now=1.0)
    assert len(recording.text().splitlines()) == 1


def test_what_is_too_much_is_cut_and_said() -> None:
    """The beginning is kept."""
    recording = Recording(id="r", trajectory="t", began=0.0, columns=80, rows=24, max_bytes=60)
    recording.output(b"x" * 30, now=1.0)
    recording.output(b"y" * 30, now=2.0)
    assert recording.cut
    assert "y" not in recording.text().splitlines()[-1]


def test_the_newest_recordings_are_kept() -> None:
    """Newest first."""
    recordings = Recordings(max_recordings=2)
    for name in "abc":
        recordings.begin(name, columns=80, rows=24, now=0.0)
    assert [row["trajectory"] for row in recordings.rows()] == ["c", "b"]
    assert recordings.find("console-1") is None
    assert recordings.find("console-3") is not None
