"""Keys by name, the ring of output, and the lines of a recording."""

from __future__ import annotations

import json

import pytest

from sandbox_daemon.terminal.asciicast import FULL, CastWriter, whole_lines
from sandbox_daemon.terminal.keys import encode_keys, needs_modes
from sandbox_daemon.terminal.ring import ByteRing

KEYS = {
    "echo hi": b"echo hi",
    "Enter": b"\r",
    "C-c": b"\x03",
    "C-?": b"\x7f",
    "^D": b"\x04",
    "^": b"^",
    "M-x": b"\x1bx",
    "C-M-x": b"\x1b\x18",
    "S-a": b"A",
    "M-Enter": b"\x1b\r",
    "C-": b"C-",
    "C-nonsense": b"C-nonsense",
    "Up": b"\x1b[A",
    "C-Left": b"\x1b[1;5D",
    "F1": b"\x1bOP",
    "F12": b"\x1b[24~",
    "S-F5": b"\x1b[15;2~",
    "PPage": b"\x1b[5~",
    "BTab": b"\x1b[Z",
    "\u00e4": "\u00e4".encode(),
    "": b"",
}


@pytest.mark.parametrize(("key", "sent"), KEYS.items(), ids=[repr(key) for key in KEYS])
def test_keys_are_what_a_terminal_sends(key: str, sent: bytes) -> None:
    """As xterm and tmux have it; a word that is no name is typed."""
    assert encode_keys([key]) == sent


def test_arrows_follow_the_mode_of_the_program() -> None:
    """Full-screen programs ask for others."""
    assert encode_keys(["Up", "F1"], application=True) == b"\x1bOA\x1bOP"
    assert needs_modes(["Up"])
    assert needs_modes(["Home"])
    assert not needs_modes(["F1", "x"])


def test_a_ring_keeps_the_end_and_knows_the_place() -> None:
    """Who asks for what is gone gets what is left, and hears from where."""
    ring = ByteRing(4)
    for piece in (b"abc", b"def", b"ghi", b"jkl"):
        ring.feed(piece)
    assert (ring.end, ring.start) == (12, 5)
    assert ring.read(0, 3) == (5, b"fgh")
    assert ring.read(11, 10) == (11, b"l")
    assert ring.read(99, 10) == (12, b"")
    assert repr(ring) == "<ByteRing 5..12>"


def test_a_recording_is_asciicast_and_bounded() -> None:
    """Whole characters only; a full recording says so once."""
    writer = CastWriter(columns=80, rows=24, timestamp=1, max_bytes=120)
    header = json.loads(writer.header)
    assert (header["version"], header["width"], header["height"]) == (2, 80, 24)
    assert writer.output(0.5, "\u00e4".encode()[:1]) == b""
    assert json.loads(writer.output(1.0, "\u00e4".encode()[1:])) == [1.0, "o", "\u00e4"]
    assert json.loads(writer.resized(1.5, columns=100, rows=30)) == [1.5, "r", "100x30"]
    assert json.loads(writer.output(2.0, b"x" * 200)) == [2.0, "m", FULL]
    assert writer.output(3.0, b"y") == b""


def test_half_a_line_is_left_for_later() -> None:
    """A reader can take any number of bytes."""
    assert whole_lines(b"one\ntwo\nthr") == b"one\ntwo\n"
    assert whole_lines(b"thr") == b""
