"""The one interface of all arms.

An arm has two halves with lives of their own: the *server side* (slots, daemons, HTTP servers; opened once,
in processes of its own) and the *caller* (executor, client; opened anew when its settings change). The
interface names no event loop: an arm says which one it runs on, and its driver process is started on that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Any, Protocol

from attrs import frozen

from benchmarks.lib.load import CallOutcome


class Runtime(StrEnum):
    """The event loop an arm's caller runs on."""

    TRIO = "trio"
    ASYNCIO = "asyncio"


@frozen(kw_only=True)
class ArmOptions:
    """What the server side is opened with.

    Attributes:
        slots: workspaces that can be in use at once.
        isolation: ``auto``, ``required`` or ``none``; arms that know only one way ignore it.
        allow_network: whether commands see the host's network.
    """

    slots: int
    isolation: str = "auto"
    allow_network: bool = True


@frozen(kw_only=True)
class CallerSettings:
    """What the caller is opened with; ``None`` is the arm's own default. Arms without batching ignore it."""

    batch_window_ms: float | None = None
    max_batch_size: int | None = None


class Execute(Protocol):
    """One call, from the caller's point of view: returns when the result is there."""

    async def __call__(
        self, trajectory_id: str, tool: str, arguments: Mapping[str, Any], limit_s: float
    ) -> CallOutcome:
        """Runs one tool call of a trajectory.

        Cancellation: *abandons* the call.
        """
        ...


class OpenArm(ABC):
    """A server side that serves."""

    @abstractmethod
    def open_caller(self, settings: CallerSettings) -> AbstractAsyncContextManager[Execute]:
        """A caller; closing it gives its slots back."""


class Arm(ABC):
    """One contender."""

    name: str
    runtime: Runtime = Runtime.TRIO
    tools: frozenset[str] = frozenset({"bash"})
    """What it can execute; a scenario that needs more leaves it out."""

    def missing(self) -> str | None:
        """Why it cannot run on this machine, as a sentence; ``None`` when it can."""
        return None

    @abstractmethod
    def open(self, options: ArmOptions) -> AbstractAsyncContextManager[OpenArm]:
        """Starts the server side; leaving stops it."""
