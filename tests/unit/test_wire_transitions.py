"""The tables themselves: complete, closed, and alike for every order that honest peers can produce."""

from __future__ import annotations

from itertools import permutations
from typing import get_args

import pytest

from hermes_trio.wire import frames as f
from hermes_trio.wire.transitions import (
    CALL_TABLE,
    DEAF,
    LINK_LOST,
    LINK_TABLE,
    LINK_UP,
    SESSION_FRAMES,
    CallState,
    LinkState,
    Party,
    Role,
)

SESSION_ONLY = {f.LeaseLost, f.Drain}


def run(*said: tuple[Party, type]) -> CallState:
    """Where a call is after these frames; KeyError where the table forbids one."""
    state = CallState.NEW
    for party, frame in said:
        state = CALL_TABLE[state][party][frame]
    return state


def test_the_tables_name_every_state_and_both_parties() -> None:
    """No lookup can fail for want of a row."""
    assert set(CALL_TABLE) == set(CallState)
    assert all(set(row) == set(Party) for row in CALL_TABLE.values())
    assert set(LINK_TABLE) == set(LINK_UP.keys() | {LinkState.OVER}) == set(LinkState)
    assert all(set(row) == set(Role) for row in LINK_TABLE.values())


def test_every_frame_has_its_place_in_a_table() -> None:
    """Who adds a frame says when it is allowed."""
    in_calls = {frame for row in CALL_TABLE.values() for part in row.values() for frame in part}
    assert in_calls | SESSION_ONLY == set(get_args(f.SessionFrame))
    assert SESSION_FRAMES[Role.EXECUTOR] | SESSION_FRAMES[Role.DAEMON] == set(get_args(f.SessionFrame))
    in_links = {frame for row in LINK_TABLE.values() for part in row.values() for frame in part}
    assert in_links == set(get_args(f.Frame))


def test_the_two_tables_agree_on_who_says_what() -> None:
    """The caller is the executor, the worker the daemon."""
    for party, role in ((Party.CALLER, Role.EXECUTOR), (Party.WORKER, Role.DAEMON)):
        said = {frame for row in CALL_TABLE.values() for frame in row[party]}
        assert said == SESSION_FRAMES[role] - SESSION_ONLY
        assert role.peer.peer is role


def test_every_state_of_a_call_is_reached_and_ends() -> None:
    """There is no trap: from each state a result leads to the end."""
    reached = {CallState.NEW}
    for _ in CallState:
        reached |= {new for old in reached for row in CALL_TABLE[old].values() for new in row.values()}
    assert reached == set(CallState)
    for state in reached - {CallState.NEW, CallState.ENDED}:
        assert CALL_TABLE[state][Party.WORKER][f.Result] is CallState.ENDED
    assert not CALL_TABLE[CallState.ENDED][Party.WORKER]


CALLER = (f.Call, f.Credit, f.Cancel)
WORKER = (f.Accepted, f.Output, f.Credit, f.Result)


def orders() -> list[tuple[tuple[Party, type], ...]]:
    """All ways in which the two parties' own orders can be merged, the call first."""
    marks = [Party.CALLER] * (len(CALLER) - 1) + [Party.WORKER] * len(WORKER)
    merged: list[tuple[tuple[Party, type], ...]] = []
    for order in sorted(set(permutations(marks)), key=str):
        said = {Party.CALLER: iter(CALLER[1:]), Party.WORKER: iter(WORKER)}
        merged.append(((Party.CALLER, f.Call), *((party, next(said[party])) for party in order)))
    return merged


@pytest.mark.parametrize("order", orders(), ids=lambda order: "-".join(frame.__name__ for _, frame in order))
def test_frames_that_cross_lead_to_the_same_end_in_every_order(order: tuple[tuple[Party, type], ...]) -> None:
    """What the caller says may be seen before or after anything the worker says."""
    assert run(*order) is CallState.ENDED


@pytest.mark.parametrize(
    "said",
    [
        [(Party.WORKER, f.Result)],
        [(Party.CALLER, f.Cancel)],
        [(Party.CALLER, f.Call), (Party.CALLER, f.Input)],
        [(Party.CALLER, f.Call), (Party.WORKER, f.Output)],
        [(Party.CALLER, f.Call), (Party.WORKER, f.Credit)],
        [(Party.CALLER, f.Call), (Party.WORKER, f.Accepted), (Party.WORKER, f.Accepted)],
        [(Party.CALLER, f.Call), (Party.CALLER, f.Cancel), (Party.CALLER, f.Cancel)],
        [(Party.CALLER, f.Call), (Party.CALLER, f.Cancel), (Party.CALLER, f.Input)],
        [(Party.CALLER, f.Call), (Party.WORKER, f.Result), (Party.WORKER, f.Result)],
        [(Party.CALLER, f.Call), (Party.WORKER, f.Result), (Party.WORKER, f.Output)],
    ],
)
def test_orders_that_no_honest_peer_produces_are_forbidden(said: list[tuple[Party, type]]) -> None:
    """The last frame of each is refused; those before it are fine."""
    run(*said[:-1])
    with pytest.raises(KeyError):
        run(*said)


def test_a_duplicate_call_changes_no_state() -> None:
    """It is answered from memory."""
    for state in set(CallState) - {CallState.NEW}:
        assert CALL_TABLE[state][Party.CALLER][f.Call] is state


def test_a_link_says_nothing_before_its_greetings() -> None:
    """Hello, welcome, then the rest; hello only once."""
    for role in Role:
        for state in (LinkState.UP, LinkState.GREETED):
            assert not SESSION_FRAMES[role] & set(LINK_TABLE[state][role])
        assert f.Hello not in LINK_TABLE[LinkState.OPEN][role]
        assert f.Welcome not in LINK_TABLE[LinkState.OPEN][role]


def test_only_goodbye_ends_a_session() -> None:
    """An error or a loss ends the link alone; over is over."""
    for state, row in LINK_TABLE.items():
        for part in row.values():
            over = {frame for frame, new in part.items() if new is LinkState.OVER}
            assert over <= {f.Goodbye}
        assert (LINK_LOST[state] is LinkState.OVER) is (state is LinkState.OVER)
    assert LinkState.OVER not in LINK_UP
    assert not any(LINK_TABLE[LinkState.OVER].values())
    assert {LinkState.FAILED, LinkState.OVER} == DEAF
