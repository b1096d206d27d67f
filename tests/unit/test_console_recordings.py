"""Recordings of terminals: asciicast files, bounded."""

from __future__ import annotations

import json

from hermes_trio.console.recordings import FetchedRecording, Recording, Recordings


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


def _cast(*lines: object, timestamp: float = 1_000_110.0) -> bytes:
    header = {"version": 2, "width": 80, "height": 24, "timestamp": timestamp}
    return b"".join(json.dumps(each).encode() + b"\n" for each in (header, *lines))


def _fetched(max_bytes: int = 1000) -> FetchedRecording:
    return FetchedRecording(id="slot-1", trajectory="t", terminal="main", began=100.0, max_bytes=max_bytes)


def test_a_fetched_recording_is_made_of_its_pieces() -> None:
    """A piece that comes twice, or out of its order, changes nothing."""
    recording = _fetched()
    first, second = _cast([0.5, "o", "$ "]), json.dumps([2.5, "o", "hi"]).encode() + b"\n"
    recording.take(b"", at=0)
    recording.take(second, at=len(first))
    recording.take(first, at=0, wall_offset_s=1_000_000.0)
    recording.take(first, at=0)
    recording.take(second, at=len(first))
    assert recording.text().encode() == first + second
    row = recording.row()
    assert (row["began"], row["duration_s"], row["bytes"]) == (110.0, 2.5, len(first + second))
    assert (row["origin"], row["live"], row["cut"]) == ("main", True, False)


def test_what_a_daemon_sends_is_not_trusted() -> None:
    """No header, no time: it is handed out as it is, and what is not known is not said."""
    recording = _fetched(max_bytes=20)
    recording.take(b"[]\n{nonsense\n", at=0)
    assert (recording.began, recording.duration_s, recording.cut) == (100.0, 0.0, False)
    recording.take(b"\xff\xff\xff\xff\xff\xff\n", at=13)
    assert recording.cut
    assert "nonsense" in recording.text()


def test_terminals_are_followed_in_turn() -> None:
    """Who has waited longest comes first; what is over, or too long, is not asked for."""
    recordings = Recordings()
    recordings.see([(1, "a", "main"), (2, "b", "main"), (3, "c", "build")], now=1.0)
    assert [each.trajectory for each in recordings.to_fetch(2)] == ["a", "b"]
    assert [each.trajectory for each in recordings.to_fetch(2)] == ["c", "a"]
    recordings.find("slot-1").take(b"x" * 5, at=0)  # type: ignore[union-attr]
    recordings.see([(2, "b", "main"), (3, "c", "build")], now=2.0)
    assert {each.trajectory for each in recordings.to_fetch(9)} == {"b", "c"}
    assert [(row["trajectory"], row["live"]) for row in recordings.rows()][-1] == ("a", False)


def test_what_is_over_and_empty_is_not_listed() -> None:
    """Its terminal ended before anything of it was fetched."""
    recordings = Recordings()
    recordings.see([(1, "a", "main")], now=1.0)
    recordings.see([], now=2.0)
    assert recordings.rows() == []


def test_what_is_held_of_slots_is_bounded() -> None:
    """The oldest that are over go first; when only live ones are left, nothing more is fetched."""
    recordings = Recordings(max_held_bytes=100, max_fetched=3)
    recordings.see([(number, f"t{number}", "main") for number in (1, 2, 3)], now=1.0)
    for number in (1, 2):
        recordings.find(f"slot-{number}").take(b"x" * 60, at=0)  # type: ignore[union-attr]
    assert recordings.to_fetch(9) == []
    recordings.see([(2, "t2", "main"), (3, "t3", "main")], now=2.0)
    assert recordings.find("slot-1") is None
    assert len(recordings.to_fetch(9)) == 2
    recordings.see([(number, f"t{number}", "main") for number in range(2, 9)], now=3.0)
    assert len(recordings.rows()) == 3
