"""The live state in a terminal: what is drawn of a mirror, and JSON with names."""

from __future__ import annotations

import pytest
from rich.console import Console, RenderableType

from hermes_trio.console.mirror import Mirror, named_snapshot
from hermes_trio.console.view import age, head, tail, top, tree, whole


def _mirror() -> Mirror:
    mirror = Mirror()
    call = [7, 2, "bash", "running", 90.0, 89.0, 30.0, 4711, "sleep 60"]
    early = [8, 0, "bash", "queued", 95.0, 95.0, None, None, "make"]
    mirror.apply(
        {
            "now": 100.0,
            "rows": {
                "trajectories": [
                    ["idle-one", "", "idle", 0, 1.0, 1.0, "", "", "its owner's next call", 3, 1, []],
                    ["busy", "run › group", "running", 2, 90.0, 1.0, "d", "s0", "pid 4711", 3, 0, [call]],
                    ["early", "run › group", "queued", 0, 95.0, 1.0, "", "", "a free slot", 0, 0, [early]],
                ],
                "slots": [["d/s0", "d", "s0", "leased", "busy", 1.0]],
                "daemons": [
                    ["d", "up", 4, 1, 0, 1, 10, 20, "ws://d", "", 0.0],
                    ["e", "down", 9, 0, 0, 0, 0, 0, "", "", 0.0],
                ],
            },
            "figures": {
                "counters": {"trajectories": 3, "calls_under_way": 2},
                "history": [[99.0, 12.0, 1, 1, 1, 0.004, 0.02, 0.5]],
            },
            "events": [
                [1, 99.0, "call_ended", "busy", 7, "bash, ok", "info"],
                [2, 99.5, "daemon_changed", "", None, "down", "error"],
            ],
        }
    )
    return mirror


def _text(drawn: RenderableType) -> str:
    console = Console(width=160, height=40, color_system=None)
    with console.capture() as capture:
        console.print(drawn)
    return capture.get()


def test_the_head_counts_everything() -> None:
    """Slots of a daemon that is down are none."""
    text = _text(head(_mirror(), name="serve"))
    assert (
        "serve  3 trajectories · 2 calls under way · 12 calls/s · p50 4.0 ms · p99 500.0 ms · 1/4 slots"
        in text
    )
    assert "e: down" in text
    assert "0 trajectories" in _text(head(Mirror(), name="serve"))


def test_the_longest_wait_is_at_the_top_and_the_idle_below() -> None:
    """With the process and what is waited for."""
    lines = _text(top(_mirror(), rows=10)).splitlines()
    assert [line.split()[0] for line in lines] == ["trajectory", "busy", "early", "idle-one"]
    assert "4711" in lines[1]
    assert "pid 4711 · bash sleep 60" in lines[1]
    assert len(_text(top(_mirror(), rows=1)).splitlines()) == 2


def test_the_tree_goes_from_the_nursery_to_the_process() -> None:
    """Those whose nursery was not seen yet have a place too."""
    text = _text(tree(_mirror(), rows=10))
    assert "run › group" in text
    assert "turn 2 · bash sleep 60 › d › s0 › pid 4711" in text
    assert "(not seen yet)" in text


def test_events_and_everything_together() -> None:
    """For a screen of any height."""
    assert "call_ended busy bash, ok" in _text(tail(_mirror().events, rows=5))
    for height in (10, 60):
        text = _text(whole(_mirror(), name="serve", height=height))
        assert "tree" in text
        assert "events" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1.0, "0.0 s"), (4.26, "4.3 s"), (187.0, "3 m 07 s"), (7500.0, "2 h 05 m")]
)
def test_ages_are_short(seconds: float, text: str) -> None:
    """Two units at most."""
    assert age(seconds) == text


def test_a_mirror_forgets_what_is_gone_and_begins_again() -> None:
    """As the page does."""
    mirror = _mirror()
    mirror.apply({"now": 101.0, "gone": {"trajectories": ["busy", "unknown"]}, "late": 4})
    assert set(mirror.trajectories) == {"idle-one", "early"}
    assert mirror.late == 4
    mirror.apply({"now": 102.0, "reset": True})
    assert not mirror.trajectories
    assert not mirror.slots
    assert not mirror.daemons
    assert mirror.late == 0


def test_a_snapshot_for_programs_has_names() -> None:
    """Calls inside their trajectories too."""
    mirror = _mirror()
    told = named_snapshot(
        {
            "now": 1.0,
            "trajectories": list(mirror.trajectories.values()),
            "slots": list(mirror.slots.values()),
            "daemons": list(mirror.daemons.values()),
        }
    )
    assert told["trajectories"][1]["live"][0]["pid"] == 4711
    assert told["slots"][0]["owner"] == "busy"
    assert told["daemons"][0]["bytes_received"] == 20
