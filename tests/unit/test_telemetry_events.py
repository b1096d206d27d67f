"""Events and their JSON form."""

from __future__ import annotations

import math
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_trio.errors import InvalidInputError, Provenance
from hermes_trio.telemetry.events import (
    KINDS,
    MAX_TEXT,
    CallEnded,
    CallRunning,
    Snapshot,
    Stamped,
    TrajectoryEnded,
    bounded_text,
    from_mapping,
    to_mapping,
)

_events = st.one_of([st.from_type(kind) for kind in KINDS.values()])
_stamped = st.builds(Stamped, st.integers(0, 2**53), st.floats(allow_nan=False), _events)


def _is_json(stamped: Stamped) -> bool:
    values = attrs.asdict(stamped.event, recurse=False).values()
    floats = [value for value in (*values, stamped.at_s) if isinstance(value, float)]
    texts = [value for value in values if isinstance(value, str)]
    wholes = [value for value in values if type(value) is int]
    return (
        all(map(math.isfinite, floats))
        and all(text.isprintable() for text in texts)
        and all(abs(whole) < 2**53 for whole in wholes)
    )


@given(_stamped.filter(_is_json))
def test_what_is_written_is_read_again(stamped: Stamped) -> None:
    """Every class, through real JSON."""
    assert from_mapping(orjson.loads(orjson.dumps(to_mapping(stamped)))) == stamped


def test_members_of_a_newer_version_are_passed_over() -> None:
    """A recording may come from one."""
    written = to_mapping(Stamped(3, 1.5, CallRunning(call=7, pid=12)))
    assert written == {"type": "call_running", "sequence": 3, "at_s": 1.5, "call": 7, "pid": 12}
    assert from_mapping(written | {"mood": "good"}) == Stamped(3, 1.5, CallRunning(call=7, pid=12))


def test_whole_numbers_may_stand_for_seconds() -> None:
    """JSON written by others knows no difference."""
    assert from_mapping({"type": "call_running", "sequence": 1, "at_s": 2, "call": 1}).at_s == 2.0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"type": "nonsense"}, "type"),
        ({"type": 3}, "type"),
        ({"sequence": "1"}, "sequence"),
        ({"at_s": None}, "at_s"),
        ({"call": True}, "call"),
        ({"provenance": "somebody"}, "provenance"),
        ({"provenance": 1}, "provenance"),
        ({"run_s": "long"}, "run_s"),
    ],
)
def test_what_is_no_event_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    """The error says which member."""
    ended = CallEnded(
        call=1, trajectory="t", tool="bash", provenance=Provenance.OK, success=True, latency_s=0.5
    )
    with pytest.raises(InvalidInputError) as caught:
        from_mapping(to_mapping(Stamped(1, 0.0, ended)) | changes)
    assert caught.value.field == named


def test_a_missing_member_is_named() -> None:
    """Those with defaults may be left out, the others may not."""
    with pytest.raises(InvalidInputError) as caught:
        from_mapping({"type": "trajectory_ended", "sequence": 1, "at_s": 0.0, "trajectory": "t"})
    assert caught.value.field == "provenance"


def test_a_text_in_an_event_is_short() -> None:
    """An error may quote a whole output."""
    assert bounded_text("short") == "short"
    assert len(bounded_text("x" * 10_000)) == MAX_TEXT


def test_a_snapshot_is_written_as_its_events() -> None:
    """With the number to go on from."""
    event = TrajectoryEnded(trajectory="t", provenance=Provenance.OK)
    snapshot = Snapshot(sequence=9, at_s=1.0, unix_time_s=2.0, events=(Stamped(9, 0.5, event),))
    written = snapshot.to_mapping()
    assert (written["sequence"], written["unix_time_s"]) == (9, 2.0)
    assert [from_mapping(each) for each in written["events"]] == list(snapshot.events)
