"""PURE: what is in a folder, and what is seen when folders lie on each other as layers.

::

    upper     a   (b: whiteout)   c/ opaque   d/
    layer 2   a'   b               c/          d/
    base      a''                  c/          d/   e
    merged    a                    c/ (upper)  d/ (all three)   e

A layer hides what is below it by name; a *whiteout* hides and shows nothing; folders are merged unless one is
*opaque*, or something else lies between them. The rules are overlayfs's; they are here once, for those who
read layers without mounting them: differences, archives, copies, digests.

Source: Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from enum import IntEnum
from typing import Final, Protocol

from attrs import frozen

MAX_DEPTH: Final = 200
"""Levels of folders that are followed: each keeps a descriptor of every layer open."""


class TooDeepError(Exception):
    """Folders lie more than :data:`MAX_DEPTH` deep in each other."""

    def __init__(self) -> None:
        super().__init__(f"folders lie more than {MAX_DEPTH} deep in each other")


class Kind(IntEnum):
    """What a name stands for."""

    FILE = 1
    FOLDER = 2
    LINK = 3
    FIFO = 4
    OTHER = 5
    """A socket or a device: of no use elsewhere."""
    WHITEOUT = 6
    """Nothing, and nothing of what is below either."""


@frozen(kw_only=True)
class Entry:
    """What a name stands for, and how it looks.

    Args:
        kind: what it is.
        mode: permission bits, with set-id and sticky bits.
        size: of a file, in bytes.
        mtime_ns: when it was changed.
        target: of a symbolic link.
        identity: what names of one file have in common; ``None`` for a file with one name.
    """

    kind: Kind
    mode: int = 0
    size: int = 0
    mtime_ns: int = 0
    target: bytes = b""
    identity: tuple[int, int] | None = None


class Folder(Protocol):
    """An open folder of one layer."""

    @property
    def opaque(self) -> bool:
        """Whether it hides folders of its name below."""
        ...

    def entries(self) -> Mapping[bytes, Entry]:
        """What is in it."""
        ...

    def open(self, name: bytes) -> Folder:
        """One of its folders."""
        ...

    def read(self, name: bytes) -> int:
        """A descriptor of one of its files. ``OSError`` when it cannot be read."""
        ...

    def close(self) -> None:
        """Gives it up."""
        ...


@frozen
class Seen:
    """A name of a merged folder.

    Args:
        entry: of the topmost layer that has it.
        holder: that layer's folder.
        others: folders of the same name below it that are merged with it, from top to bottom.
        cut: whether what lies below all of these layers is hidden.
    """

    entry: Entry
    holder: Folder
    others: tuple[Folder, ...]
    cut: bool


class Merged:
    """A folder as layers show it. ``close`` it.

    Args:
        folders: of the layers, from top to bottom.
        cut: what lies below all of these layers is hidden here.
    """

    def __init__(self, folders: Sequence[Folder], *, cut: bool) -> None:
        self._folders = tuple(folders)
        self.cut = cut

    def entries(self) -> dict[bytes, Seen]:
        """What is seen in it, whiteouts included as long as they hide something of below."""
        listings = [(folder, folder.entries()) for folder in self._folders]
        names = {name for _, listing in listings for name in listing}
        seen = {name: self._look(name, listings) for name in sorted(names)}
        return {
            name: what for name, what in seen.items() if not (self.cut and what.entry.kind is Kind.WHITEOUT)
        }

    def _look(self, name: bytes, listings: Sequence[tuple[Folder, Mapping[bytes, Entry]]]) -> Seen:
        found = [(folder, listing[name]) for folder, listing in listings if name in listing]
        holder, entry = found[0]
        others: list[Folder] = []
        cut = self.cut
        for folder, other in found[1:]:
            if entry.kind is not Kind.FOLDER or other.kind is not Kind.FOLDER:
                cut = True
                break
            others.append(folder)
        return Seen(entry, holder, tuple(others), cut or entry.kind is not Kind.FOLDER)

    def open(self, name: bytes, seen: Seen) -> Merged:
        """One of its folders."""
        opened: list[Folder] = []
        cut = seen.cut
        for folder in (seen.holder, *seen.others):
            opened.append(folder.open(name))
            if opened[-1].opaque:
                cut = True
                break
        return Merged(opened, cut=cut)

    def close(self) -> None:
        """Gives it up."""
        for folder in self._folders:
            folder.close()


@frozen(kw_only=True)
class Node:
    """One step of a walk.

    Args:
        path: from the root, without a slash at either end; the root's is empty.
        entry: what it is.
        holder: the folder that it is in; for the root: the root.
        name: there.
        opaque: a folder that hides what lies below all layers.
    """

    path: bytes
    entry: Entry
    holder: Folder
    name: bytes
    opaque: bool = False


def walk(root: Merged) -> Generator[Node, None, None]:
    """Everything in a merged folder, each folder before what is in it, names in the order of their bytes.

    Closes all but the root. ``TooDeepError`` when it is too deep.
    """
    levels = [(b"", root, iter(root.entries().items()))]
    try:
        while levels:
            prefix, folder, names = levels[-1]
            name, seen = next(names, (b"", None))
            if seen is None:
                levels.pop()
                if levels:
                    folder.close()
                continue
            path = prefix + name
            if seen.entry.kind is not Kind.FOLDER:
                yield Node(path=path, entry=seen.entry, holder=seen.holder, name=name)
                continue
            if len(levels) > MAX_DEPTH:
                raise TooDeepError
            inner = folder.open(name, seen)
            levels.append((path + b"/", inner, iter(inner.entries().items())))
            opaque = inner.cut and not folder.cut
            yield Node(path=path, entry=seen.entry, holder=seen.holder, name=name, opaque=opaque)
    finally:
        for _, folder, _ in levels[1:]:
            folder.close()
