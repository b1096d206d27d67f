"""Events as lines for people."""

from __future__ import annotations

import pytest

from hermes_trio.console.feed import Feed, line_of
from hermes_trio.console.model import LiveCall
from hermes_trio.errors import Provenance
from hermes_trio.telemetry.events import (
    CallEnded,
    CallPacked,
    DaemonChanged,
    DaemonState,
    Event,
    FailureNoted,
    LeaseChanged,
    LeaseState,
    Stamped,
)


def _ended(provenance: Provenance) -> CallEnded:
    return CallEnded(
        call=4,
        trajectory="t",
        tool="bash",
        provenance=provenance,
        success=False,
        latency_s=0.0123,
        queue_s=2.5,
        error="why",
    )


@pytest.mark.parametrize(
    ("event", "text", "level"),
    [
        (_ended(Provenance.OK), "bash, ok, latency 12.3 ms, queue 2.5 s, why", "info"),
        (_ended(Provenance.TOOL_ERROR), "bash, tool_error, latency 12.3 ms, queue 2.5 s, why", "warning"),
        (_ended(Provenance.SANDBOX_LOST), "bash, sandbox_lost, latency 12.3 ms, queue 2.5 s, why", "error"),
        (LeaseChanged(trajectory="t", state=LeaseState.LEASED, daemon="d"), "leased, daemon d", "info"),
        (LeaseChanged(trajectory="t", state=LeaseState.LOST), "lost", "error"),
        (DaemonChanged(daemon="d", state=DaemonState.UP, slots=3), "daemon d, up, slots 3", "info"),
        (
            FailureNoted(where="fleet:d", provenance=Provenance.LINK_LOST, error="x"),
            "where fleet:d, link_lost, x",
            "error",
        ),
    ],
)
def test_an_event_is_a_line(event: Event, text: str, level: str) -> None:
    """With its level, and durations that can be read."""
    row = line_of(Stamped(1, 2.0, event), {})
    assert (row[0], row[4], row[5]) == (2.0, text, level)


def test_an_event_that_names_only_its_call_is_given_its_trajectory() -> None:
    """As long as the call is under way."""
    call = LiveCall(number=4, trajectory="t", tool="", uniq_id="", turn=0, summary="", entered=0.0, since=0.0)
    packed = Stamped(1, 2.0, CallPacked(call=4, daemon="d", slot="s"))
    assert line_of(packed, {4: call})[1:4] == ["call_packed", "t", 4]
    assert line_of(packed, {})[2] == ""


def test_a_ring_forgets_its_oldest_lines() -> None:
    """And gives the newest to who asks for fewer than there are."""
    feed = Feed(max_lines=3)
    assert feed.before(5) == 0
    for number in range(5):
        feed.add([number])
    assert feed.since(0, 10) == [[3, 2], [4, 3], [5, 4]]
    assert feed.since(3, 1) == [[5, 4]]
    assert feed.since(5, 10) == []
    assert feed.before(2) == 3
