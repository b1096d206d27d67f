"""What the torments have in common."""

from __future__ import annotations

from collections import Counter
from typing import Any

from attrs import frozen

import hermes_trio as ht
from hermes_trio.testing.history import History

QUICK = ht.ExecutorConfig(allow_network=False, heartbeat_s=0.5, dead_after_s=2.0, default_limit_s=60.0)
"""An executor that notices a silence soon."""


@frozen
class FigureSet:
    """What was measured, and what must not have happened."""

    name: str
    figures: dict[str, Any]
    problems: tuple[str, ...] = ()


def endings(history: History) -> dict[str, int]:
    """How many calls ended in which way."""
    return dict(Counter(end.provenance.value for ends in history.endings.values() for end in ends))
