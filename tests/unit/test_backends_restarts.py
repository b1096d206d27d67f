"""The budget of restarts, on a clock made of numbers."""

from hypothesis import given
from hypothesis import strategies as st

from hermes_trio.backends.restarts import RestartBudget, RestartPolicy


def test_pauses_double_up_to_their_limit_and_the_budget_ends():
    """With the dice at their highest."""
    budget = RestartBudget(RestartPolicy(max_restarts=4, first_delay_s=1.0, max_delay_s=3.0))
    assert [budget.spend(now=0.0, chance=1.0) for _ in range(5)] == [1.0, 2.0, 3.0, 3.0, None]


def test_the_window_slides():
    """What is long ago is forgiven."""
    budget = RestartBudget(RestartPolicy(max_restarts=2, window_s=10.0, first_delay_s=1.0))
    assert budget.spend(now=0.0, chance=1.0) == 1.0
    assert budget.spend(now=5.0, chance=1.0) == 2.0
    assert budget.spend(now=9.9, chance=1.0) is None
    assert budget.spend(now=10.0, chance=1.0) == 2.0


@given(st.floats(0, 1))
def test_chance_spreads_between_half_and_all(chance):
    """So that daemons which died together do not come back together."""
    delay = RestartBudget(RestartPolicy(first_delay_s=1.0)).spend(now=0.0, chance=chance)
    assert delay is not None
    assert 0.5 <= delay <= 1.0


@given(st.lists(st.floats(0, 20), max_size=30))
def test_no_window_holds_more_restarts_than_allowed(gaps):
    """Whatever the rhythm of dying."""
    policy = RestartPolicy(max_restarts=3, window_s=10.0)
    budget = RestartBudget(policy)
    now, granted = 0.0, []
    for gap in gaps:
        now += gap
        if budget.spend(now=now, chance=0.0) is not None:
            granted.append(now)
    for first in granted:
        assert sum(first <= other < first + policy.window_s for other in granted) <= policy.max_restarts
