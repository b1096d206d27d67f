"""What layers show and how workspaces differ, on folders in memory, against plain dictionaries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox_daemon.workspaces.against import against
from sandbox_daemon.workspaces.changes import changes, order_of
from sandbox_daemon.workspaces.entries import MAX_DEPTH, Entry, Folder, Kind, Merged, TooDeepError, walk

FILE, FOLDER, LINK, WHITEOUT = Kind.FILE, Kind.FOLDER, Kind.LINK, Kind.WHITEOUT


class MemoryFolder:
    """A folder of a layer: bytes are a file, ``None`` a whiteout, a folder a folder."""

    def __init__(self, names: Mapping[bytes, object], *, opaque: bool = False) -> None:
        self.names = dict(names)
        self.opaque = opaque

    def entries(self) -> dict[bytes, Entry]:
        """By name."""
        return {name: _entry(what) for name, what in self.names.items()}

    def open(self, name: bytes) -> MemoryFolder:
        """The one of that name."""
        found = self.names[name]
        assert isinstance(found, MemoryFolder)
        return found

    def read(self, name: bytes) -> int:
        """Nobody asks."""
        raise AssertionError(name)

    def close(self) -> None:
        """Nothing to give up."""


def _entry(what: object) -> Entry:
    if what is None:
        return Entry(kind=WHITEOUT)
    if isinstance(what, MemoryFolder):
        return Entry(kind=FOLDER, mode=0o755)
    assert isinstance(what, bytes)
    return Entry(kind=FILE, size=len(what), mode=0o644)


def same(one: Folder, other: Folder, name: bytes) -> bool:
    """As on disk."""
    assert isinstance(one, MemoryFolder)
    assert isinstance(other, MemoryFolder)
    return one.names[name] == other.names[name]


Tree = dict[bytes, bytes | None]
"""Path -> content, ``None``: a folder."""


def apply(layer: MemoryFolder, below: Tree, prefix: bytes = b"") -> Tree:
    """What is seen when a layer lies on a tree: the rules, as plainly as they can be told."""
    tree = dict(below)
    for name, what in layer.names.items():
        path = prefix + name
        keeps = isinstance(what, MemoryFolder) and not what.opaque and tree.get(path, b"") is None
        if not keeps:
            tree = {p: c for p, c in tree.items() if p != path and not p.startswith(path + b"/")}
        if isinstance(what, MemoryFolder):
            tree[path] = None
            tree = apply(what, tree, path + b"/")
        elif isinstance(what, bytes):
            tree[path] = what
    return tree


def seen(merged: Merged) -> Tree:
    """What a walk shows."""
    tree: Tree = {}
    for node in walk(merged):
        if node.entry.kind is WHITEOUT:
            continue
        assert isinstance(node.holder, MemoryFolder)
        content = node.holder.names[node.name]
        tree[node.path] = content if isinstance(content, bytes) else None
    return tree


NAMES = st.sampled_from([b"a", b"b", b"\xff\n"])


def layers(*, whiteouts: bool) -> st.SearchStrategy[MemoryFolder]:
    """Folders three deep."""
    leaves = st.sampled_from([b"", b"one", b"two"])
    leaf = st.one_of(st.none(), leaves) if whiteouts else leaves
    opaque = st.booleans() if whiteouts else st.just(value=False)

    def deeper(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
        return st.builds(_folder, st.dictionaries(NAMES, inner, max_size=3), opaque)

    node = deeper(st.one_of(leaf, deeper(st.one_of(leaf, deeper(leaf)))))
    return st.builds(MemoryFolder, st.dictionaries(NAMES, st.one_of(leaf, node), max_size=3))


def _folder(names: Mapping[bytes, object], opaque: bool) -> MemoryFolder:
    return MemoryFolder(names, opaque=opaque)


BASES = layers(whiteouts=False)
STACKS = st.lists(layers(whiteouts=True), min_size=1, max_size=4)


@given(st.lists(layers(whiteouts=True), min_size=1, max_size=4))
def test_layers_without_a_base_show_what_applying_them_in_turn_gives(stack: list[MemoryFolder]) -> None:
    """Topmost first; nothing is below, so no whiteout is worth telling."""
    tree: Tree = {}
    for layer in stack:
        tree = apply(layer, tree)
    merged = Merged(stack[::-1], cut=True)
    assert seen(merged) == tree
    assert all(node.entry.kind is not WHITEOUT and not node.opaque for node in walk(merged))
    merged.close()


@given(BASES, STACKS)
def test_a_flattened_stack_shows_the_same_above_its_base(
    base: MemoryFolder, stack: list[MemoryFolder]
) -> None:
    """Whiteouts and opaque folders are kept as far as they hide something of the base."""
    tree = apply(base, {})
    for layer in stack:
        tree = apply(layer, tree)
    flat = MemoryFolder({})
    folders = {b"": flat}
    for node in walk(Merged(stack[::-1], cut=False)):
        parent, _, name = node.path.rpartition(b"/")
        made: object = None
        if node.entry.kind is FOLDER:
            made = folders[node.path] = MemoryFolder({}, opaque=node.opaque)
        elif node.entry.kind is FILE:
            assert isinstance(node.holder, MemoryFolder)
            made = node.holder.names[node.name]
        folders[parent].names[name] = made
    assert apply(flat, apply(base, {})) == tree


def told(workspace: Merged, base: MemoryFolder | None, after: bytes | None = None) -> list[tuple[bytes, str]]:
    """Paths, and how they differ."""
    found = []
    for change in changes(workspace, base, same_content=same, after_path=after):
        kind = "added" if change.before is None else "removed" if change.after is None else "changed"
        found.append((change.path, kind))
    return found


def difference(before: Tree, after: Tree) -> Iterator[tuple[bytes, str]]:
    """The same of two trees."""
    for path in sorted(before.keys() | after.keys(), key=order_of):
        if path not in before:
            yield path, "added"
        elif path not in after:
            yield path, "removed"
        elif before[path] != after[path]:
            yield path, "changed"


@settings(max_examples=300)
@given(BASES, STACKS)
def test_differences_are_those_of_the_trees(base: MemoryFolder, stack: list[MemoryFolder]) -> None:
    """Whatever the layers did on the way: what was removed and made anew the same is no change."""
    before = apply(base, {})
    after = before
    for layer in stack:
        after = apply(layer, after)
    workspace = Merged(stack[::-1], cut=False)
    assert told(workspace, base) == list(difference(before, after))


@given(BASES, STACKS, st.data())
def test_pages_of_differences_add_up(
    base: MemoryFolder, stack: list[MemoryFolder], data: st.DataObject
) -> None:
    """A page begins right after the last path of the page before, which need not be there any more."""
    workspace = Merged(stack[::-1], cut=False)
    whole = told(workspace, base)
    paths = [path for path, _ in whole] + [b"a/a", b"b"]
    after = data.draw(st.sampled_from(paths))
    assert told(workspace, base, after) == [item for item in whole if order_of(item[0]) > order_of(after)]


@given(STACKS)
def test_without_a_base_everything_is_added(stack: list[MemoryFolder]) -> None:
    """And nothing else."""
    workspace = Merged(stack[::-1], cut=True)
    assert told(workspace, None) == [(path, "added") for path in sorted(seen(workspace), key=order_of)]


def nested(levels: int) -> MemoryFolder:
    """Folders in each other."""
    folder = MemoryFolder({})
    for _ in range(levels):
        folder = MemoryFolder({b"d": folder})
    return folder


def test_folders_that_are_too_deep_are_refused() -> None:
    """Each level keeps descriptors open."""
    assert len(list(walk(Merged([nested(MAX_DEPTH)], cut=True)))) == MAX_DEPTH
    with pytest.raises(TooDeepError, match="deep"):
        list(walk(Merged([nested(MAX_DEPTH + 1)], cut=True)))
    with pytest.raises(TooDeepError):
        told(Merged([nested(MAX_DEPTH + 1)], cut=True), None)
    with pytest.raises(TooDeepError):
        told(Merged([MemoryFolder({b"d": None})], cut=False), nested(MAX_DEPTH + 1))


@pytest.mark.parametrize(
    ("before", "after", "differs"),
    [
        (Entry(kind=FILE, size=1, mtime_ns=1), Entry(kind=FILE, size=1, mtime_ns=2), False),
        (Entry(kind=FILE, size=1), Entry(kind=FILE, size=2), True),
        (Entry(kind=FILE, mode=0o644), Entry(kind=FILE, mode=0o755), True),
        (Entry(kind=FILE, identity=(1, 2)), Entry(kind=FILE), False),
        (Entry(kind=LINK, target=b"x"), Entry(kind=LINK, target=b"y"), True),
        (Entry(kind=LINK, target=b"x"), Entry(kind=LINK, target=b"x"), False),
        (Entry(kind=FILE), Entry(kind=FOLDER), True),
        (Entry(kind=FOLDER, mode=0o700), Entry(kind=FOLDER, mode=0o755), True),
    ],
)
def test_what_counts_as_a_change(before: Entry, after: Entry, differs: bool) -> None:
    """Type, mode, size, target, content; neither times nor how many names a file has."""

    class One(MemoryFolder):
        def __init__(self, entry: Entry) -> None:
            super().__init__({b"x": b""})
            self.entry = entry

        def entries(self) -> dict[bytes, Entry]:
            return {b"x": self.entry}

        def open(self, name: bytes) -> MemoryFolder:
            return MemoryFolder({})

    found = list(changes(Merged([One(after)], cut=False), One(before), same_content=same))
    assert bool(found) == differs
    assert all((change.before, change.after) == (before, after) for change in found)


@given(BASES, BASES)
def test_a_copy_told_against_its_base_gives_the_copy_back(base: MemoryFolder, copy: MemoryFolder) -> None:
    """What :func:`against` tells, applied to the base as a layer is; and of the same nothing is told."""
    layer = MemoryFolder({})
    folders = {b"": layer}
    for node in against(copy, base, same_content=same):
        parent, _, name = node.path.rpartition(b"/")
        made: object = None
        if node.entry.kind is FOLDER:
            made = folders[node.path] = MemoryFolder({})
        elif node.entry.kind is FILE:
            assert isinstance(node.holder, MemoryFolder)
            made = node.holder.names[node.name]
        folders[parent].names[name] = made
    assert apply(layer, apply(base, {})) == apply(copy, {})
    assert not list(against(copy, copy, same_content=same))


class Odd(MemoryFolder):
    """A folder whose file looks like this."""

    def __init__(self, entry: Entry) -> None:
        super().__init__({b"f": b""})
        self.entry = entry

    def entries(self) -> dict[bytes, Entry]:
        """The one."""
        return {b"f": self.entry}


def test_what_only_looks_the_same_is_told() -> None:
    """A time, a mode; a file that has other names too; what a socket has replaced, as gone."""
    plain = Entry(kind=FILE, mode=0o644)
    for entry in (evolve(plain, mtime_ns=1), evolve(plain, mode=0o600), evolve(plain, identity=(1, 2))):
        assert [node.entry for node in against(Odd(entry), Odd(plain), same_content=same)] == [entry]
    socket = Odd(Entry(kind=Kind.OTHER))
    assert [node.entry.kind for node in against(socket, Odd(plain), same_content=same)] == [WHITEOUT]
    assert not list(against(socket, MemoryFolder({}), same_content=same))
    assert not list(against(Odd(Entry(kind=LINK)), Odd(Entry(kind=LINK)), same_content=same))


def test_a_copy_that_is_too_deep_is_not_told() -> None:
    """As everything that walks."""
    folder = MemoryFolder({})
    for _ in range(MAX_DEPTH + 1):
        folder = MemoryFolder({b"d": folder})
    with pytest.raises(TooDeepError):
        list(against(folder, MemoryFolder({}), same_content=same))
