"""Which of several servers is asked."""

from __future__ import annotations

import pytest

from hermes_trio.models import balance as balance_module
from hermes_trio.models.balance import FIRST_REST_S, MAX_REST_S, Balance, Candidate, Choice


def balance_of(servers: int) -> Balance:
    """Servers that are all well."""
    return Balance([Candidate() for _ in range(servers)])


def fail(balance: Balance, index: int, now_s: float = 0.0) -> None:
    """One request to a server that fails."""
    balance.candidates[index].in_flight += 1
    balance.failed(Choice(index), now_s=now_s)


def test_the_least_loaded_server_is_asked() -> None:
    """Requests under way count, not those that are over."""
    balance = balance_of(3)
    choices = [balance.choose(None, now_s=0.0) for _ in range(3)]
    assert [choice.index for choice in choices] == [0, 1, 2]
    balance.answered(choices[1])
    assert balance.choose(None, now_s=0.0).index == 1


def test_a_trajectory_stays_with_its_server() -> None:
    """Even when another has less to do: its prefix is cached there."""
    balance = balance_of(2)
    first = balance.choose("t", now_s=0.0)
    balance.answered(first)
    for _ in range(3):
        assert balance.choose("t", now_s=0.0).index == first.index


def test_new_trajectories_spread_when_all_servers_are_idle() -> None:
    """By how many live on each."""
    balance = balance_of(2)
    for number in range(6):
        balance.answered(balance.choose(f"t{number}", now_s=0.0))
    assert [candidate.trajectories for candidate in balance.candidates] == [3, 3]


def test_a_trajectory_moves_when_its_server_fails_and_stays_where_it_moved() -> None:
    """Coming back would cost the second cache too."""
    balance = balance_of(2)
    choice = balance.choose("t", now_s=0.0)
    balance.failed(choice, now_s=0.0)
    moved = balance.choose("t", now_s=0.1)
    assert moved.index != choice.index
    balance.answered(moved)
    assert balance.choose("t", now_s=1000.0).index == moved.index
    assert [candidate.trajectories for candidate in balance.candidates] == [0, 1]


def test_a_server_that_failed_is_tried_by_one_request_after_its_rest() -> None:
    """The others follow when that one was answered."""
    balance = balance_of(2)
    fail(balance, 0)
    assert balance.choose(None, now_s=FIRST_REST_S / 2).index == 1
    trial = balance.choose(None, now_s=FIRST_REST_S)
    assert trial == Choice(0, is_trial=True)
    assert balance.choose(None, now_s=FIRST_REST_S).index == 1
    balance.answered(trial)
    assert balance.choose(None, now_s=FIRST_REST_S) == Choice(0)


def test_a_trial_that_its_caller_gave_up_says_nothing() -> None:
    """The next one tries; an old request that ends meanwhile does not count as the trial."""
    balance = balance_of(2)
    old, _other = balance.choose(None, now_s=0.0), balance.choose(None, now_s=0.0)
    fail(balance, old.index)
    balance.choose(None, now_s=0.0)
    trial = balance.choose(None, now_s=5.0)
    assert trial.is_trial
    balance.left(old)
    assert balance.choose(None, now_s=5.0).index == 1
    balance.left(trial)
    assert balance.choose(None, now_s=5.0) == Choice(0, is_trial=True)


def test_rests_double_up_to_their_bound() -> None:
    """A server that is gone for hours is asked twice a minute."""
    balance = balance_of(1)
    rests = []
    for _ in range(12):
        fail(balance, 0, now_s=100.0)
        rests.append(balance.candidates[0].rests_until_s - 100.0)
    assert rests[:3] == [FIRST_REST_S, 2 * FIRST_REST_S, 4 * FIRST_REST_S]
    assert rests[-1] == MAX_REST_S


def test_when_all_are_away_the_one_that_rests_least_is_asked() -> None:
    """A single server is always asked: what it says is better than a guess."""
    balance = balance_of(2)
    fail(balance, 0, now_s=10.0)
    fail(balance, 1, now_s=9.0)
    assert balance.choose(None, now_s=9.5).index == 1
    assert balance.choose(None, now_s=9.5, avoid=1).index == 1


def test_the_server_that_just_failed_a_request_is_not_asked_by_it_again() -> None:
    """Unless there is no other, even if it is this trajectory's own."""
    balance = balance_of(2)
    home = balance.choose("t", now_s=0.0)
    balance.answered(home)
    assert balance.choose("t", now_s=0.0, avoid=home.index).index != home.index
    assert balance_of(1).choose("t", now_s=0.0, avoid=0).index == 0
    assert balance.has_other(0, now_s=0.0)
    assert not balance_of(1).has_other(0, now_s=0.0)


def test_homes_are_forgotten_beyond_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those not heard of for longest."""
    monkeypatch.setattr(balance_module, "MAX_REMEMBERED", 2)
    balance = balance_of(3)
    for name in ("a", "b", "a", "c"):
        balance.answered(balance.choose(name, now_s=0.0))
    assert [candidate.trajectories for candidate in balance.candidates] == [1, 0, 1]
