"""PURE: how often, and after what pause, a daemon that died is started again."""

from __future__ import annotations

from collections import deque
from typing import final

from attrs import frozen


@frozen(kw_only=True)
class RestartPolicy:
    """Bounds on restarting.

    Args:
        max_restarts: within any ``window_s``; one more and the daemon is given up.
        window_s: length of the sliding window, in seconds.
        first_delay_s: pause before the first restart of a window; doubles with each one.
        max_delay_s: where doubling stops.
    """

    max_restarts: int = 5
    window_s: float = 60.0
    first_delay_s: float = 0.1
    max_delay_s: float = 5.0


@final
class RestartBudget:
    """What is left of a policy, for one daemon."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._restarts: deque[float] = deque()

    def spend(self, *, now: float, chance: float) -> float | None:
        """Ask for one restart.

        Args:
            now: a clock's reading, in seconds.
            chance: random, from 0 to 1. Daemons that died together should not come back together: the
                pause is between half and all of what doubling gives.

        Returns:
            Seconds to wait before it; ``None``: the budget is used up.
        """
        while self._restarts and now - self._restarts[0] >= self._policy.window_s:
            self._restarts.popleft()
        if len(self._restarts) >= self._policy.max_restarts:
            return None
        delay = min(self._policy.first_delay_s * 2.0 ** len(self._restarts), self._policy.max_delay_s)
        self._restarts.append(now)
        return delay * (0.5 + 0.5 * chance)
