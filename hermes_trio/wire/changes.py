"""PURE. How two workspaces differ, as it travels: names are bytes, so this is no JSON."""

from __future__ import annotations

import struct
from typing import Final

from attrs import frozen

from hermes_trio.errors import RemoteProtocolError
from hermes_trio.wire.listing import EntryKind

_HEAD: Final = struct.Struct("!BIQBIQH")
"""Kind, mode and size before and after, and the length of the path. Kind 0: nothing is there."""


@frozen(kw_only=True)
class Look:
    """What is at a path.

    Args:
        kind: what it is.
        mode: its permission bits.
        size: of a file, in bytes.
    """

    kind: EntryKind
    mode: int
    size: int


@frozen(kw_only=True)
class PathChange:
    """One path that differs.

    Args:
        path: relative to the workspace.
        before: what the base has there; ``None``: nothing.
        after: what the workspace has there; ``None``: nothing.
    """

    path: bytes
    before: Look | None
    after: Look | None

    @property
    def how(self) -> str:
        """``added``, ``changed`` or ``removed``."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


def pack_change(change: PathChange) -> bytes:
    """One change as it travels. Its path has at most 65,535 bytes."""
    return _HEAD.pack(*_numbers(change.before), *_numbers(change.after), len(change.path)) + change.path


def unpack_changes(data: bytes) -> tuple[PathChange, ...]:
    """All changes of a page.

    Raises:
        RemoteProtocolError: it is none.
    """
    found = []
    start = 0
    while start < len(data):
        if len(data) - start < _HEAD.size:
            raise RemoteProtocolError("a change of a workspace is cut off")
        *numbers, length = _HEAD.unpack_from(data, start)
        start += _HEAD.size
        path = data[start : start + length]
        start += length
        if len(path) < length:
            raise RemoteProtocolError("a change of a workspace is cut off")
        found.append(PathChange(path=path, before=_look(*numbers[:3]), after=_look(*numbers[3:])))
    return tuple(found)


def _numbers(look: Look | None) -> tuple[int, int, int]:
    return (0, 0, 0) if look is None else (look.kind, look.mode, look.size)


def _look(kind: int, mode: int, size: int) -> Look | None:
    if kind == 0:
        return None
    if kind not in EntryKind.__members__.values():
        raise RemoteProtocolError("a change of a workspace is malformed")
    return Look(kind=EntryKind(kind), mode=mode, size=size)
