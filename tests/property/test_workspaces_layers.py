"""The layer table against a model that knows nothing of counting."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sandbox_daemon.workspaces.layers import MAX_LAYERS, LayerId, LayerTable, Stack

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

    @rule(holder=st.sampled_from(HOLDERS), keep=st.integers(0, 1))
    def flatten(self, holder: str, keep: int) -> None:
        """One new layer above what is kept."""
        layer, freed = self.table.flatten(holder, keep=keep)
        self.alive.add(layer)
        self._gone(freed)
        self.stacks[holder] = (*self.stacks.get(holder, ())[:keep], layer)

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
