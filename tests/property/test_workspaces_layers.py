"""The layer table against a model that knows nothing of counting."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sandbox_daemon.workspaces.layers import (
    FLATTENED,
    MAX_LAYERS,
    LayerId,
    LayerTable,
    Stack,
    lightest_run,
)

HOLDERS = ("a", "b", "c", "base")


class Layers(RuleBasedStateMachine):
    """Seal, fork, reset and flatten in any order: a layer lives exactly as long as somebody holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = LayerTable()
        self.stacks: dict[str, Stack] = {}
        self.alive: set[LayerId] = set()

    def _gone(self, freed: Stack) -> None:
        assert set(freed) <= self.alive
        assert len(set(freed)) == len(freed)
        self.alive -= set(freed)

    @rule(holder=st.sampled_from(HOLDERS))
    def seal(self, holder: str) -> None:
        """A new layer, never one that was there."""
        layer = self.table.seal(holder)
        assert layer not in self.alive
        self.alive.add(layer)
        self.stacks[holder] = (*self.stacks.get(holder, ()), layer)

    @rule(holder=st.sampled_from(HOLDERS), source=st.sampled_from(HOLDERS), depth=st.integers(0, 3))
    def put(self, holder: str, source: str, depth: int) -> None:
        """A fork, or with a depth that is short a reset to the base."""
        stack = self.stacks.get(source, ())[:depth]
        self._gone(self.table.put(holder, stack))
        self.stacks[holder] = stack

    @rule(holder=st.sampled_from(HOLDERS), start=st.integers(0, 2), length=st.integers(1, 4))
    def flatten(self, holder: str, start: int, length: int) -> None:
        """One new layer between what is kept below and above."""
        old = self.stacks.get(holder, ())
        layer, freed = self.table.flatten(holder, slice(start, start + length))
        self.alive.add(layer)
        self._gone(freed)
        self.stacks[holder] = (*old[:start], layer, *old[start + length :])

    @invariant()
    def a_layer_lives_as_long_as_it_is_held(self) -> None:
        """Neither longer nor shorter."""
        held = {layer for stack in self.stacks.values() for layer in stack}
        assert self.table.layers == held == self.alive
        for holder in HOLDERS:
            assert self.table.stack(holder) == self.stacks.get(holder, ())
            assert self.table.crowded(holder) == (len(self.stacks.get(holder, ())) >= MAX_LAYERS)
        assert repr(self.table).startswith(f"<LayerTable {len(held)} layers, ")


Layers.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestLayers = Layers.TestCase


@given(st.lists(st.integers(0, 1_000), min_size=FLATTENED, max_size=MAX_LAYERS))
def test_no_run_of_layers_is_lighter_than_the_one_that_is_chosen(weights: list[int]) -> None:
    """And it is a whole one."""
    start = lightest_run(weights)
    chosen = weights[start : start + FLATTENED]
    assert len(chosen) == FLATTENED
    others = [weights[other : other + FLATTENED] for other in range(len(weights))]
    assert sum(chosen) == min(sum(run) for run in others if len(run) == FLATTENED)
