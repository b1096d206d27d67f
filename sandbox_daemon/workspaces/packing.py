"""A workspace as an archive: what its folders have that its base has not. Blocking; meant for threads.

What is packed is hostile, but nothing of it runs: it was ended before. It is read as everything of layers is,
without following a link. Packing was not left to the slot, as unpacking is: whiteouts are nothing that can be
seen from inside.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Final

from sandbox_daemon.agent import members
from sandbox_daemon.agent.members import Member
from sandbox_daemon.workspaces.against import against
from sandbox_daemon.workspaces.archive import ArchiveWriter
from sandbox_daemon.workspaces.entries import Entry, Folder, Kind, Node, walk
from sandbox_daemon.workspaces.tree import DiskFolder, data_ranges, open_layers, same_content

_PIECE_BYTES: Final = 1 << 20
_KINDS: Final = {
    Kind.FILE: members.FILE,
    Kind.FOLDER: members.FOLDER,
    Kind.LINK: members.LINK,
    Kind.FIFO: members.FIFO,
    Kind.WHITEOUT: members.WHITEOUT,
}
_KEPT_XATTRS: Final = "user."


class Packing:
    """An archive under way. :meth:`piece` after piece, in any thread, one at a time; then ``close`` it.

    Args:
        written: folders of what lies above the base, from top to bottom; without layers the workspace itself.
        base: the folder of the base; ``None``: it has none.
        base_name: its name.
        layered: whether the folders are layers, and say themselves what they hide of the base.
    """

    def __init__(
        self, written: Sequence[Path], *, base: Path | None, base_name: str | None, layered: bool
    ) -> None:
        self._written = written
        self._base = base
        self._layered = layered
        self._writer = ArchiveWriter(base_name)
        self._pieces = self._pack()
        self.entries = 0
        """How many members it has so far."""

    def piece(self) -> bytes | None:
        """The next bytes, none meanwhile; ``None``: it is whole. ``OSError``, ``TooDeepError``."""
        return next(self._pieces, None)

    def close(self) -> None:
        """Gives up what is open."""
        self._pieces.close()

    def _pack(self) -> Generator[bytes, None, None]:
        yield self._writer.begin()
        with contextlib.ExitStack() as stack:
            whole = self._base is None or not self._layered
            merged, top = stack.enter_context(open_layers(self._written, whole=whole))
            nodes = walk(merged)
            if self._base is not None and not self._layered:
                below = DiskFolder.at(self._base)
                stack.callback(below.close)
                nodes = against(top, below, same_content=same_content)
            stack.callback(nodes.close)
            for data in _tar(top, nodes):
                self.entries += isinstance(data, Member)
                yield self._writer.feed(members.pack_head(data) if isinstance(data, Member) else data)
        yield self._writer.feed(members.END)
        yield self._writer.finish()


def _tar(root: DiskFolder, nodes: Iterator[Node]) -> Iterator[Member | bytes]:
    """Each member, and its content behind it."""
    first: dict[tuple[int, int], bytes] = {}
    yield _member(b".", root.look(), xattrs=_xattrs(root.descriptor))
    for node in nodes:
        entry = node.entry
        if entry.kind is Kind.OTHER:
            continue
        if entry.identity is not None and entry.kind is not Kind.WHITEOUT:
            earlier = first.setdefault(entry.identity, node.path)
            if earlier != node.path:
                yield Member(members.HARD, node.path, target=earlier)
                continue
        if entry.kind is Kind.FILE:
            yield from _file(node)
        elif entry.kind is Kind.FOLDER:
            yield _member(node.path, entry, opaque=node.opaque, xattrs=_xattrs_of_folder(node))
        else:
            yield _member(node.path, entry)


def _member(
    path: bytes, entry: Entry, *, opaque: bool = False, xattrs: dict[bytes, bytes] | None = None
) -> Member:
    return Member(
        _KINDS[entry.kind],
        path,
        mode=entry.mode,
        mtime_ns=entry.mtime_ns,
        target=entry.target,
        opaque=opaque,
        xattrs=xattrs,
    )


def _file(node: Node) -> Iterator[Member | bytes]:
    descriptor = node.holder.read(node.name)
    try:
        member = _member(node.path, node.entry, xattrs=_xattrs(descriptor))
        member.size = node.entry.size
        member.ranges = _ranges(descriptor, member.size)
        yield member
        for offset, length in member.parts():
            yield from _content(descriptor, offset, offset + length)
        yield members.padding(member.stored_bytes())
    finally:
        os.close(descriptor)


def _ranges(descriptor: int, size: int) -> list[tuple[int, int]] | None:
    """``None``: there are no holes, or so many that telling them is not worth it."""
    ranges: list[tuple[int, int]] = []
    for offset, length in data_ranges(descriptor, size):
        if len(ranges) >= members.MAX_RANGES - 1 or (not ranges and (offset, length) == (0, size)):
            return None
        ranges.append((offset, length))
    return ranges if size else None


def _content(descriptor: int, offset: int, end: int) -> Iterator[bytes]:
    """As long as it was said to be, whatever becomes of the file."""
    while offset < end:
        size = min(_PIECE_BYTES, end - offset)
        piece = os.pread(descriptor, size, offset)
        yield piece + bytes(size - len(piece))
        offset += size


def _xattrs_of_folder(node: Node) -> dict[bytes, bytes]:
    folder: Folder = node.holder.open(node.name)
    try:
        return _xattrs(folder.descriptor) if isinstance(folder, DiskFolder) else {}
    finally:
        folder.close()


def _xattrs(descriptor: int) -> dict[bytes, bytes]:
    try:
        names = [name for name in os.listxattr(descriptor) if name.startswith(_KEPT_XATTRS)]
    except OSError:
        return {}  # this file system has none
    return {os.fsencode(name): os.getxattr(descriptor, name) for name in names}
