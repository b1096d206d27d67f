"""What a watcher is sent: within its share of bytes, of what it looks at, and in the end everything."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from hermes_trio.console.delta import Feeds, Watcher
from hermes_trio.console.feed import Feed
from hermes_trio.console.state import LiveState
from hermes_trio.telemetry.events import (
    CallQueued,
    DaemonChanged,
    DaemonState,
    LeaseChanged,
    LeaseState,
    Stamped,
)


def _queued(number: int, trajectory: str) -> Stamped:
    event = CallQueued(
        call=number,
        trajectory=trajectory,
        tool="bash",
        uniq_id="u",
        limit_s=30.0,
        slot_bound=True,
        summary="ls",
    )
    return Stamped(number, float(number), event)


def _feeds() -> Feeds:
    return Feeds(events=Feed(max_lines=10), wire=Feed(max_lines=10))


class Page:
    """Does with messages what the page does."""

    def __init__(self, state: LiveState, feeds: Feeds, *sections: str, trajectory: str | None = None) -> None:
        self.state, self.feeds, self.watcher = state, feeds, Watcher()
        self.watcher.look_at(sections, trajectory=trajectory, feeds=feeds)
        self.rows: dict[str, dict[str, Any]] = {"trajectories": {}, "slots": {}, "daemons": {}}
        self.resets = 0

    def take(self, *, now: float = 0.0, max_bytes: int = 100_000) -> dict[str, Any]:
        """The next message."""
        data = self.watcher.message(self.state, self.feeds, now=now, max_bytes=max_bytes)
        message: dict[str, Any] = orjson.loads(data)
        message["size"] = len(data)
        if message.get("reset"):
            self.resets += 1
            self.rows = {"trajectories": {}, "slots": {}, "daemons": {}}
        for name, rows in message.get("rows", {}).items():
            self.rows[name] |= {row[0]: row for row in rows}
        for name, keys in message.get("gone", {}).items():
            for key in keys:
                self.rows[name].pop(key, None)
        return message


def test_a_small_share_of_bytes_gets_everything_in_the_end() -> None:
    """Rows that did not fit come next time, and it is said how many there are."""
    state, feeds = LiveState(), _feeds()
    for number in range(300):
        state.apply(_queued(number, f"t{number}"))
    page = Page(state, feeds, "trajectories")
    first = page.take(max_bytes=4000)
    assert first["size"] <= 4000
    assert first["late"] == 300 - len(page.rows["trajectories"])
    for _ in range(30):
        assert page.take(max_bytes=4000)["size"] <= 4000
    assert list(page.rows["trajectories"]) == [f"t{n}" for n in range(300)]
    assert "rows" not in page.take()


def test_a_page_follows_a_state_that_changes_all_the_time() -> None:
    """However much is left out on the way."""
    state, feeds, dice = LiveState(), _feeds(), random.Random(3)
    page = Page(state, feeds, "trajectories", "slots")
    state.apply(Stamped(0, 0.0, DaemonChanged(daemon="d", state=DaemonState.UP, slots=9)))
    for number in range(1, 800):
        trajectory = f"t{dice.randrange(40)}"
        kind = dice.choice([LeaseState.LEASED, LeaseState.RELEASED])
        lease = LeaseChanged(trajectory=trajectory, state=kind, daemon="d", slot=f"s{trajectory}")
        state.apply(Stamped(number, float(number), lease))
        if number % 5 == 0:
            page.take(max_bytes=900)
    for _ in range(60):
        page.take(max_bytes=2000)
    assert page.rows["trajectories"] == {key: row.row() for key, row in state.trajectories.rows.items()}
    assert page.rows["slots"] == {key: row.row() for key, row in state.slots.rows.items()}
    assert page.resets == 0


def test_who_has_missed_what_was_forgotten_begins_again() -> None:
    """Tombstones are bounded."""
    state, feeds = LiveState(), _feeds()
    state.trajectories.max_tombstones = 2
    page = Page(state, feeds, "trajectories")
    for number in range(5):
        state.apply(_queued(number, f"t{number}"))
    page.take()
    for number in range(4):
        state.trajectories.remove(f"t{number}")
    page.take()
    assert page.resets == 1
    assert list(page.rows["trajectories"]) == ["t4"]


def test_only_what_is_looked_at_is_sent() -> None:
    """Daemons always: they are few."""
    state, feeds = LiveState(), _feeds()
    state.apply(_queued(1, "t"))
    state.apply(Stamped(2, 2.0, DaemonChanged(daemon="d", state=DaemonState.UP, slots=9)))
    page = Page(state, feeds, "events", "nonsense")
    feeds.events.add([1.0, "x", "t", None, "text", "info"])
    message = page.take()
    assert set(message["rows"]) == {"daemons"}
    assert message["events"] == [[1, 1.0, "x", "t", None, "text", "info"]]
    assert "wire" not in message


def test_lines_that_do_not_fit_are_gone_and_counted() -> None:
    """The newest are kept."""
    feeds = _feeds()
    feeds.events.add([0.0, "before", "", None, "", "info"])
    page = Page(LiveState(), feeds, "events")
    for number in range(40):
        feeds.events.add([float(number), "x" * 80, "", None, "", "info"])
    message = page.take(max_bytes=1200)
    assert message["events"][-1][1] == 39.0
    assert message["events_dropped"] == 41 - len(message["events"])
    feeds.events.skip(7)
    assert page.take()["events_dropped"] == message["events_dropped"] + 7


def test_a_feed_begins_with_what_is_kept_of_it() -> None:
    """Who opens the events sees the last ones; who comes back is told of none twice."""
    feeds = _feeds()
    for number in range(15):
        feeds.events.add([float(number), "x", "", None, "", "info"])
    page = Page(LiveState(), feeds, "events")
    assert len(page.take()["events"]) == 10
    page.watcher.look_at(["events", "wire"], trajectory=None, feeds=feeds)
    assert "events" not in page.take()


@pytest.mark.parametrize(("sections", "is_whole"), [(["figures"], True), (["slots"], False)])
def test_figures_are_sent_once_a_second(sections: list[str], is_whole: bool) -> None:
    """All of them to who looks at them, and the counters to everybody."""
    page = Page(LiveState(), _feeds(), *sections)
    first = page.take(now=10.0)
    assert ("phases" in first["figures"]) is is_whole
    assert "counters" in first["figures"]
    assert "figures" not in page.take(now=10.5)
    assert "figures" in page.take(now=11.0)
    page.watcher.look_at(["figures"], trajectory=None, feeds=page.feeds)
    assert ("figures" in page.take(now=11.2)) is not is_whole


def test_a_trajectorys_calls_are_sent_when_they_have_changed() -> None:
    """To who looks at it."""
    state = LiveState()
    page = Page(state, _feeds(), "trajectories", trajectory="t")
    assert page.take()["detail"]["found"] is False
    state.apply(_queued(1, "t"))
    assert len(page.take()["detail"]["calls"]) == 1
    assert "detail" not in page.take()
