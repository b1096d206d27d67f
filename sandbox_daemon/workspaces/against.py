"""PURE: a workspace that is a copy of its base, told as if it were a layer on it.

What is not told is the same in both, to the nanosecond. Where there are layers nobody has to compare: what
was written lies apart.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

from attrs import evolve

from sandbox_daemon.workspaces.changes import SameContent
from sandbox_daemon.workspaces.entries import MAX_DEPTH, Entry, Folder, Kind, Node, TooDeepError

_WHITEOUT = Entry(kind=Kind.WHITEOUT)


def against(workspace: Folder, base: Folder, *, same_content: SameContent) -> Generator[Node, None, None]:
    """The nodes of the layer, each folder before what is in it, names in the order of their bytes.

    A file with several names is told with all of them: which belong together may have changed. Closes all but
    the two roots. ``TooDeepError`` when it is too deep.

    Args:
        workspace: what there is.
        base: what lies below.
        same_content: compares two files.
    """
    yield from _compare(_Level(workspace, base, b"", 1), same_content)


class _Level:
    """One pair of folders."""

    def __init__(self, workspace: Folder, base: Folder | None, prefix: bytes, depth: int) -> None:
        self.workspace = workspace
        self.base = base
        self.prefix = prefix
        self.depth = depth
        self.below: Mapping[bytes, Entry] = {} if base is None else base.entries()

    def node(self, name: bytes, entry: Entry) -> Node:
        return Node(path=self.prefix + name, entry=entry, holder=self.workspace, name=name)


def _compare(level: _Level, same_content: SameContent) -> Generator[Node, None, None]:
    if level.depth > MAX_DEPTH:
        raise TooDeepError
    seen = level.workspace.entries()
    for name in sorted(set(seen) | set(level.below)):
        entry, before = seen.get(name, _WHITEOUT), level.below.get(name)
        if entry.kind is Kind.OTHER:
            entry = _WHITEOUT  # a socket is of no use elsewhere, but what it replaced is gone
        if entry.kind is Kind.FOLDER:
            yield from _folder(level, name, entry, before, same_content)
        elif before is None and entry is _WHITEOUT:
            continue
        elif before is None or not _is_same(level, name, entry, before, same_content):
            yield level.node(name, entry)


def _folder(
    level: _Level, name: bytes, entry: Entry, before: Entry | None, same_content: SameContent
) -> Generator[Node, None, None]:
    """The folder itself, if it or anything in it differs."""
    inner = level.workspace.open(name)
    below = None
    try:
        if before is not None and before.kind is Kind.FOLDER:
            assert level.base is not None
            below = level.base.open(name)
        found = _compare(_Level(inner, below, level.prefix + name + b"/", level.depth + 1), same_content)
        first = next(found, None)
        if before is None or first is not None or not _looks_same(entry, before):
            yield level.node(name, entry)
        if first is not None:
            yield first
            yield from found
    finally:
        inner.close()
        if below is not None:
            below.close()


def _is_same(level: _Level, name: bytes, entry: Entry, before: Entry, same_content: SameContent) -> bool:
    if not _looks_same(entry, before) or entry.identity is not None:
        return False
    assert level.base is not None
    return entry.kind is not Kind.FILE or same_content(level.workspace, level.base, name)


def _looks_same(entry: Entry, before: Entry) -> bool:
    return evolve(entry, identity=None) == evolve(before, identity=None)
