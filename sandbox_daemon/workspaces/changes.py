"""PURE: what a workspace has that its base has not, and the other way round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from attrs import evolve, frozen

from sandbox_daemon.workspaces.entries import MAX_DEPTH, Entry, Folder, Kind, Merged, Seen, TooDeepError


@frozen(kw_only=True)
class Change:
    """One path that differs.

    Args:
        path: from the root.
        before: what the base has there; ``None``: nothing.
        after: what the workspace has there; ``None``: nothing. Both ``None`` is no change.
    """

    path: bytes
    before: Entry | None
    after: Entry | None


SameContent: TypeAlias = Callable[[Folder, Folder, bytes], bool]
"""Whether the files of that name in two folders hold the same bytes; they have the same size."""


@frozen
class _Differ:
    same_content: SameContent
    after_path: bytes | None

    def is_wanted(self, path: bytes) -> bool:
        return self.after_path is None or order_of(path) > order_of(self.after_path)

    def below(self, path: bytes) -> bool:
        """Whether something below this folder can still be wanted."""
        return self.is_wanted(path) or ((self.after_path or b"") + b"/").startswith(path + b"/")


def order_of(path: bytes) -> tuple[bytes, ...]:
    """What paths are sorted by: a folder, then what is in it, then what follows it."""
    return tuple(path.split(b"/"))


def changes(
    workspace: Merged, base: Folder | None, *, same_content: SameContent, after_path: bytes | None = None
) -> Iterator[Change]:
    """What differs, sorted by :func:`order_of`.

    A file whose time alone differs does not differ; one that was removed and made anew the same does not
    either. Closes all but the two roots. ``TooDeepError`` when it is too deep.

    Args:
        workspace: the layers above the base; not cut, if there is a base.
        base: what lies below; ``None``: nothing.
        same_content: compares two files.
        after_path: only what comes after this path.
    """
    yield from _compare(_Differ(same_content, after_path), b"", workspace, base, depth=1)


def _compare(
    differ: _Differ, prefix: bytes, workspace: Merged | None, base: Folder | None, *, depth: int
) -> Iterator[Change]:
    if depth > MAX_DEPTH:
        raise TooDeepError
    seen = {} if workspace is None else workspace.entries()
    below = {} if base is None else dict(base.entries())
    # What no layer names and none hides is the base's own, untouched.
    hidden = workspace is None or workspace.cut
    names = set(seen) | (set(below) if hidden else set())
    for name in sorted(names):
        found, before = seen.get(name), below.get(name)
        path = prefix + name
        if not differ.below(path):
            continue
        after = None if found is None or found.entry.kind is Kind.WHITEOUT else found.entry
        yield from _entry(differ, path, found, before, after, base, name)
        yield from _inner(differ, path, workspace, found, after, base, before, name, depth)


def _entry(
    differ: _Differ,
    path: bytes,
    found: Seen | None,
    before: Entry | None,
    after: Entry | None,
    base: Folder | None,
    name: bytes,
) -> Iterator[Change]:
    if not differ.is_wanted(path) or (before is None and after is None):
        return
    if before is not None and after is not None and _looks(before) == _looks(after):
        assert found is not None
        assert base is not None
        if after.kind is not Kind.FILE or differ.same_content(found.holder, base, name):
            return
    yield Change(path=path, before=before, after=after)


def _inner(
    differ: _Differ,
    path: bytes,
    workspace: Merged | None,
    found: Seen | None,
    after: Entry | None,
    base: Folder | None,
    before: Entry | None,
    name: bytes,
    depth: int,
) -> Iterator[Change]:
    """What is in a folder of that name, on either side."""
    inner = below = None
    try:
        if after is not None and after.kind is Kind.FOLDER:
            assert workspace is not None
            assert found is not None
            inner = workspace.open(name, found)
        if before is not None and before.kind is Kind.FOLDER:
            assert base is not None
            below = base.open(name)
        if inner is not None or below is not None:
            yield from _compare(differ, path + b"/", inner, below, depth=depth + 1)
    finally:
        for folder in (inner, below):
            if folder is not None:
                folder.close()


def _looks(entry: Entry) -> Entry:
    """All that counts but a file's content."""
    size = entry.size if entry.kind is Kind.FILE else 0
    return evolve(entry, mtime_ns=0, identity=None, size=size)
