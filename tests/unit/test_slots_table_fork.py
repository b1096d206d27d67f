"""Places for forks: on the daemon of the workspace, all of them or none."""

from __future__ import annotations

import pytest

from hermes_trio.slots.table import DaemonName, PlaceState, SlotTable, TrajectoryId

HERE, THERE = DaemonName("here"), DaemonName("there")
PARENT, ONE, TWO = TrajectoryId("parent"), TrajectoryId("one"), TrajectoryId("two")


@pytest.fixture
def table() -> SlotTable:
    """A parent with a slot on a daemon of three."""
    made = SlotTable()
    made.add_daemon(HERE, 3)
    made.request(PARENT)
    made.granted(PARENT)
    return made


def test_a_fork_takes_places_that_are_granted_or_given_back(table: SlotTable) -> None:
    """A daemon that is full then gets nobody new."""
    assert table.fork(PARENT, [ONE, TWO]) == 0
    assert table.state(ONE) is table.state(TWO) is PlaceState.ACQUIRING
    assert (table.statistics().free, table.statistics().taken) == (0, 3)
    assert table.request(TrajectoryId("late")) == ()
    table.granted(ONE)
    assert [item.trajectory for item in table.refused(TWO)] == ["late"]


def test_a_fork_leaves_a_place_that_it_does_not_need(table: SlotTable) -> None:
    """To whoever asks next."""
    assert table.fork(PARENT, [ONE]) == 0
    assert [item.daemon for item in table.request(TWO)] == [HERE]


def test_a_fork_without_room_says_how_much_is_missing(table: SlotTable) -> None:
    """Places elsewhere are of no use, and a daemon that drains has none. Nothing has changed."""
    table.add_daemon(THERE, 5)
    assert table.fork(PARENT, [ONE, TWO, TrajectoryId("three")]) == 1
    table.drain(HERE)
    assert table.fork(PARENT, [ONE]) == 1
    assert table.state(ONE) is None
    assert table.statistics().taken == 1


def test_nobody_is_forked_over_somebody(table: SlotTable) -> None:
    """Nor from somebody who has no slot."""
    table.request(ONE)
    with pytest.raises(ValueError, match="'one' is acquiring"):
        table.fork(PARENT, [TWO, ONE])
    with pytest.raises(ValueError, match="unknown"):
        table.fork(TWO, [TrajectoryId("x")])
    assert table.state(TWO) is None
