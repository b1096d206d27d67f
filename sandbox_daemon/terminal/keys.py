"""PURE: keys by their tmux names, as the bytes a terminal sends for them.

A word that is no name is typed as it is, which is what ``tmux send-keys`` does too.

Source: tmux(1), KEY BINDINGS; xterm's ctlseqs, PC-style function keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

_NAMED: Final[Mapping[str, bytes]] = {
    "Enter": b"\r",
    "Escape": b"\x1b",
    "Tab": b"\t",
    "BTab": b"\x1b[Z",
    "Space": b" ",
    "BSpace": b"\x7f",
}
_LETTERS: Final[Mapping[str, str]] = {
    "Up": "A",
    "Down": "B",
    "Right": "C",
    "Left": "D",
    "Home": "H",
    "End": "F",
    "F1": "P",
    "F2": "Q",
    "F3": "R",
    "F4": "S",
}
_NUMBERS: Final[Mapping[str, int]] = {
    "IC": 2,
    "Insert": 2,
    "DC": 3,
    "Delete": 3,
    "PPage": 5,
    "PageUp": 5,
    "PgUp": 5,
    "NPage": 6,
    "PageDown": 6,
    "PgDn": 6,
    **dict(zip((f"F{n}" for n in range(5, 13)), (15, 17, 18, 19, 20, 21, 23, 24), strict=True)),
}
_MODIFIERS: Final[Mapping[str, int]] = {"S": 1, "M": 2, "C": 4}


def needs_modes(keys: Sequence[str]) -> bool:
    """Whether one of them depends on what mode the terminal is in."""
    return any(key in _LETTERS and not key.startswith("F") for key in keys) or "Home" in keys


def encode_keys(keys: Sequence[str], *, application: bool = False) -> bytes:
    """What is typed. ``application``: the program asked for application cursor keys."""
    return b"".join(_encoded(key, application) for key in keys)


def _encoded(key: str, application: bool) -> bytes:
    modifiers, rest = 0, key
    while len(rest) > 2 and rest[1] == "-" and rest[0] in _MODIFIERS:
        modifiers |= _MODIFIERS[rest[0]]
        rest = rest[2:]
    special = _special(rest, modifiers, application)
    if special is not None:
        return special
    if modifiers and (len(rest) == 1 or rest in _NAMED):
        return _modified(_NAMED.get(rest, rest.encode("utf-8", "surrogateescape")), modifiers)
    if len(key) == 2 and key[0] == "^":
        return _modified(key[1].encode("utf-8", "surrogateescape"), _MODIFIERS["C"])
    return _NAMED.get(key, key.encode("utf-8", "surrogateescape"))


def _special(name: str, modifiers: int, application: bool) -> bytes | None:
    if name in _NUMBERS:
        return f"\x1b[{_NUMBERS[name]}{f';{modifiers + 1}' if modifiers else ''}~".encode()
    if name not in _LETTERS:
        return None
    if modifiers:
        return f"\x1b[1;{modifiers + 1}{_LETTERS[name]}".encode()
    introducer = "O" if application or name.startswith("F") else "["
    return f"\x1b{introducer}{_LETTERS[name]}".encode()


def _modified(data: bytes, modifiers: int) -> bytes:
    """Control takes a character's low five bits, Meta puts an escape before it."""
    if modifiers & _MODIFIERS["S"]:
        data = data.upper()
    if modifiers & _MODIFIERS["C"] and len(data) == 1:
        data = b"\x7f" if data == b"?" else bytes([data.upper()[0] & 0x1F])
    return b"\x1b" + data if modifiers & _MODIFIERS["M"] else data
