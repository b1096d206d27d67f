"""Processor time for bytes on their way, on a host whose slots keep all cores busy.

A transfer goes through several hands, each of which has little to do with a piece and waits for its turn
behind whatever else runs: a worker in the slot behind all other slots, for its share is that of one of them;
the daemon and its caller behind the slots together. So a slot whose worker passes bytes on weighs as much as
eight, and while the daemon reads a file itself the slots together weigh two thirds of what they do otherwise.

Weights only share out what is short: nobody is slower for them on a host that has time to spare, and the
slot's own limit of processor time holds as before. How much is right is a matter of measuring
(``benchmarks/scenario/transfer.py``): with more, transfers are faster and the others wait too long for them.

Source: ``cpu.weight`` in the kernel's ``admin-guide/cgroup-v2``, ``cpu.shares`` in its
``scheduler/sched-design-CFS``.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

from attrs import define, field

_USUAL: Final = {"cpu.weight": 100, "cpu.shares": 1024}
"""What a group weighs that nobody has weighed, by the file that says so: v2, v1."""
_PREFERRED: Final = Fraction(8)
_STANDING_BACK: Final = Fraction(2, 3)


@define(eq=False)
class Precedence:
    """Who goes first among the slots of a daemon, and before them.

    Args:
        base: the folder of all slots, in the tree that has the cpu controller; ``None``: nothing is weighed.
    """

    _base: Path | None
    _wanted: Counter[Path] = field(factory=Counter, repr=False)

    def prefer(self, slot: Path | None) -> contextlib.AbstractContextManager[None]:
        """While the body runs, this slot goes before the others."""
        return self._weighed(slot, _PREFERRED)

    def stand_back(self) -> contextlib.AbstractContextManager[None]:
        """While the body runs, all slots leave more to what is no slot."""
        return self._weighed(self._base, _STANDING_BACK)

    @contextlib.contextmanager
    def _weighed(self, group: Path | None, times: Fraction) -> Iterator[None]:
        if group is None or self._base is None:
            yield
            return
        self._wanted[group] += 1
        if self._wanted[group] == 1:
            _weigh(group, times)
        try:
            yield
        finally:
            self._wanted[group] -= 1
            if not self._wanted[group]:
                del self._wanted[group]
                _weigh(group, Fraction(1))


def _weigh(group: Path, times: Fraction) -> None:
    """A host that refuses is slower, and no worse."""
    for name, usual in _USUAL.items():
        with contextlib.suppress(OSError):
            if (group / name).exists():
                (group / name).write_text(str(int(usual * times)))
