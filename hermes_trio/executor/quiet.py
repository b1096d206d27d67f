"""A slot in which nothing runs any more, and nothing new begins but what its holder says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hermes_trio.errors import Provenance
from hermes_trio.tools.calls import ToolCall, ToolResult


class Execute(Protocol):
    """Runs a call past the gate."""

    async def __call__(
        self, trajectory_id: str, call: ToolCall, *, limit_s: float | None = None
    ) -> ToolResult:
        """As :meth:`Executor.execute`. Cancellation: abandons."""
        ...


class QuietSlot:
    """What :meth:`Executor.quiesce` returns: the one way to run something in the slot from then on.

    A verifier stands on it: whatever the agent left behind, a late task or a forgotten loop, is refused as
    ``denied`` until the slot is released or reopened.

    Attributes:
        jobs_killed: background jobs that ran, and were ended for the quiet.
    """

    def __init__(self, trajectory_id: str, *, execute: Execute, reopen: Callable[[QuietSlot], None]) -> None:
        self.trajectory_id = trajectory_id
        self.jobs_killed = 0
        self._execute = execute
        self._reopen = reopen

    def __repr__(self) -> str:
        return f"<QuietSlot of {self.trajectory_id!r}>"

    async def execute(self, call: ToolCall, *, limit_s: float | None = None) -> ToolResult:
        """Run a call in the quiet slot, as :meth:`Executor.execute` would.

        Cancellation: abandons.

        Args:
            call: what to run.
            limit_s: as there.

        Raises:
            ClosedError: the executor was closed.
        """
        return await self._execute(self.trajectory_id, call, limit_s=limit_s)

    def reopen(self) -> None:
        """Let the trajectory's calls in again. Idempotent; a release does it too."""
        self._reopen(self)


def refused(call: ToolCall, trajectory_id: str) -> ToolResult:
    """The answer at the gate."""
    return ToolResult(
        success=False,
        error=f"The slot of trajectory {trajectory_id} is quiet for its verifier; other calls are refused"
        " until it is released",
        metadata={},
        uniq_id=call.uniq_id,
        provenance=Provenance.DENIED,
    )
