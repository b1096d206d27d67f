"""The log of changes: every watcher hears of each row in its last state, and of each row that is gone."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from hermes_trio.console.changes import Cursor, Table

KEYS = [f"k{n}" for n in range(6)]
STEPS = st.lists(
    st.tuples(st.sampled_from(["touch", "remove", "look"]), st.sampled_from(KEYS), st.integers(1, 4)),
    max_size=60,
)


def _look(table: Table[int], cursor: Cursor, seen: dict[str, int], most: int) -> None:
    """What a watcher does with a message of at most so many rows."""
    if table.needs_to_begin(cursor):
        seen.clear()
        table.begin(cursor)
    for version, key in list(table.since(cursor))[:most]:
        if key in table.rows:
            seen[key] = table.rows[key]
        else:
            seen.pop(key, None)
        cursor.version = version


@given(STEPS, st.integers(0, 3))
@example([("touch", "k0", 1), ("look", "k0", 1), ("remove", "k0", 1)], 0)
def test_a_watcher_ends_up_with_the_rows_that_are_there(
    steps: list[tuple[str, str, int]], tombstones: int
) -> None:
    """However little of it is sent at a time, and however few tombstones are kept."""
    table = Table[int](max_tombstones=tombstones)
    cursor, seen = Cursor(), dict[str, int]()
    table.begin(cursor)
    for number, (step, key, most) in enumerate(steps):
        match step:
            case "touch":
                table.touch(key, number)
            case "remove":
                table.remove(key)
            case _:
                _look(table, cursor, seen, most)
    for _ in range(3):
        _look(table, cursor, seen, 100)
    assert seen == table.rows


@given(STEPS)
def test_the_log_holds_no_more_than_rows_and_tombstones(steps: list[tuple[str, str, int]]) -> None:
    """It cannot grow."""
    table = Table[int](max_tombstones=2)
    for number, (step, key, _) in enumerate(steps):
        if step == "touch":
            table.touch(key, number)
        else:
            table.remove(key)
        assert len(list(table.since(Cursor()))) <= len(table.rows) + 2


def test_a_row_that_changes_often_is_told_once() -> None:
    """In the order of last changes, oldest first."""
    table = Table[str]()
    table.touch("a", "1")
    table.touch("b", "1")
    table.touch("a", "2")
    assert list(table.since(Cursor())) == [(2, "b"), (3, "a")]
