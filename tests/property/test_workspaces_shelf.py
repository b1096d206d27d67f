"""Which bases a daemon keeps, held to a list: in any order of building, using and removing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sandbox_daemon.workspaces.shelf import BaseShelf

MOST = 4
names = st.sampled_from("abcdefgh")


class Shelf(RuleBasedStateMachine):
    """A shelf beside a list in the order of use, and a set of those that something stands on."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []
        self.used: set[str] = set()
        self.shelf = BaseShelf(self.used.__contains__, most=MOST)

    @rule(name=names)
    def build(self, name: str) -> None:
        """Those that must go are the first that nothing stands on; then it is put there if there is room."""
        gone = self.shelf.surplus()
        free = [each for each in self.order if each not in self.used]
        assert list(gone) == free[: max(0, len(self.order) + 1 - MOST)]
        for each in gone:
            self.shelf.drop(each)
            self.order.remove(each)
        assert self.shelf.has_room() == (len(self.order) < MOST)
        if self.shelf.has_room():
            self.touched(name)

    def touched(self, name: str) -> None:
        """It is the last to go."""
        self.shelf.touch(name)
        self.order = [*(each for each in self.order if each != name), name]

    @rule(name=names)
    def stand(self, name: str) -> None:
        """A trajectory begins with it."""
        if name in self.order:
            self.touched(name)
            self.used.add(name)

    @rule(name=names)
    def leave(self, name: str) -> None:
        """The last of them ends."""
        self.used.discard(name)

    @rule(name=names)
    def drop(self, name: str) -> None:
        """Somebody says so."""
        if name not in self.used:
            self.shelf.drop(name)
            self.order = [each for each in self.order if each != name]

    @invariant()
    def is_the_list(self) -> None:
        """The same names in the same order, and never one too many."""
        assert list(self.shelf) == self.order
        assert len(self.order) <= MOST
        assert self.used <= set(self.order)


TestShelf = Shelf.TestCase


@given(st.lists(names))
def test_without_users_the_last_ones_stay(used: list[str]) -> None:
    """As any cache of the least recently used."""
    shelf = BaseShelf(lambda name: False, most=MOST)
    for name in used:
        if name not in shelf:
            for gone in shelf.surplus():
                shelf.drop(gone)
        shelf.touch(name)
    last = list(dict.fromkeys(reversed(used)))[:MOST]
    assert list(shelf) == last[::-1]
    assert repr(shelf) == f"<BaseShelf {len(last)} of {MOST} bases>"
