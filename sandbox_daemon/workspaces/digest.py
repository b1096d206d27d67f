"""The name of a base: a digest of everything in it, the same wherever and whenever it is built."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable
from typing import Final

from sandbox_daemon.workspaces.entries import Entry, Kind, Node

_HEAD: Final = struct.Struct("!BIQqII")
_PIECE: Final = 1 << 20
_LEFT_OUT: Final = (Kind.OTHER, Kind.WHITEOUT)


class TreeDigest:
    """SHA-256 of a manifest (path, kind, mode, size, time, target, in a walk's order) and of all contents.

    A further name of a file counts as the path of its first. Blocking.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256(b"hermes_trio base 1\n")
        self._first: dict[tuple[int, int], bytes] = {}

    def note(self, node: Node) -> None:
        """The next node of the walk. ``OSError`` when it cannot be read."""
        entry = node.entry
        if entry.kind in _LEFT_OUT:
            return
        target = entry.target
        if entry.identity is not None:
            first = self._first.setdefault(entry.identity, node.path)
            target = target if first == node.path else first
        self._head(node.path, entry, target)
        if entry.kind is Kind.FILE and target == entry.target:
            self._content(node)

    def root(self, entry: Entry) -> None:
        """How the root itself looks; the last."""
        self._head(b"", entry, b"")

    def hexdigest(self) -> str:
        """The name."""
        return self._hash.hexdigest()

    def _head(self, path: bytes, entry: Entry, target: bytes) -> None:
        size = entry.size if entry.kind is Kind.FILE else 0
        head = _HEAD.pack(entry.kind, entry.mode, size, entry.mtime_ns, len(path), len(target))
        self._feed((head, path, target))

    def _content(self, node: Node) -> None:
        descriptor = node.holder.read(node.name)
        try:
            while piece := os.read(descriptor, _PIECE):
                self._hash.update(piece)
        finally:
            os.close(descriptor)

    def _feed(self, parts: Iterable[bytes]) -> None:
        for part in parts:
            self._hash.update(part)
