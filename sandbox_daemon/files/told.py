"""PURE: what a worker said of its job on standard error. It is hostile input, like all that a slot says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

_NUMBERS: Final = frozenset({"entries", "truncated", "skipped_count", "written", "done", "ripgrep"})
_MAX_NUMBER: Final = 2**63 - 1
_MAX_SKIPPED: Final = 100
_MAX_WHY: Final = 100
_REASONS: Final = 7


@frozen(kw_only=True)
class Told:
    """How a job went.

    Args:
        numbers: by name; ``done`` is there when the job came to its end.
        failed: reason (``protocol.REASON_*``), errno and size of what ended it before.
        skipped: paths in hexadecimal, and why they were left out.
        sha256: of what it wrote.
        refused: why the job makes no sense.
    """

    numbers: Mapping[str, int] = field(factory=dict)
    failed: tuple[int, int, int] | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    sha256: str | None = None
    refused: str = ""

    def number(self, name: str) -> int:
        """What it said of this; 0 when it said nothing."""
        return self.numbers.get(name, 0)


def read_told(data: bytes) -> Told:
    """What the lines mean.

    Raises:
        ValueError: no worker of ours says such a thing; the text is what it said instead, or its end.
    """
    numbers: dict[str, int] = {}
    failed = None
    skipped: list[tuple[str, str]] = []
    sha256, refused = None, ""
    for line in data.decode("ascii", "backslashreplace").splitlines():
        name, _, value = line.partition("=")
        if name in _NUMBERS:
            numbers[name] = _number(value)
        elif name == "failed":
            failed = _failed(value)
        elif name == "skipped" and len(skipped) < _MAX_SKIPPED:
            skipped.append(_skipped(value))
        elif name == "sha256":
            sha256 = _hexadecimal(value)
        elif name == "refused":
            refused = bytes.fromhex(value).decode("utf-8", "replace")
        else:
            raise ValueError(data[-500:].decode("utf-8", "replace"))
    return Told(numbers=numbers, failed=failed, skipped=tuple(skipped), sha256=sha256, refused=refused)


def _number(text: str) -> int:
    if text.isdecimal() and len(text) < 20 and (value := int(text)) <= _MAX_NUMBER:
        return value
    raise ValueError(f"not a number: {text[:50]}")


def _failed(text: str) -> tuple[int, int, int]:
    reason, code, size = (_number(part) for part in text.split(",", 2))
    if reason >= _REASONS:
        raise ValueError(f"no such reason: {reason}")
    return reason, code, size


def _skipped(text: str) -> tuple[str, str]:
    path, _, why = text.partition(",")
    return _hexadecimal(path), why[:_MAX_WHY]


def _hexadecimal(text: str) -> str:
    bytes.fromhex(text)
    return text
