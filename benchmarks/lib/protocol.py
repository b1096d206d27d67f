"""What a driver process and the harness say to each other, one JSON line each. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from attrs import frozen

from benchmarks.arms.base import CallerSettings
from benchmarks.lib.load import Load, LoadResult
from hermes_trio.telemetry import HistogramSnapshot


@frozen(kw_only=True)
class RunRequest:
    """Harness to driver: run this load with a caller of these settings."""

    load: Load
    settings: CallerSettings


@frozen(kw_only=True)
class CommandsOrder:
    """Harness to the executor of real commands: run each in a slot of its own, so many at once."""

    commands: tuple[str, ...]
    rounds: int
    """How often all of them."""
    slots: int
    limit_s: float

    @property
    def total(self) -> int:
        """Calls to be made."""
        return len(self.commands) * self.rounds


@frozen(kw_only=True)
class CommandsOutcome:
    """What came of them."""

    by_provenance: Mapping[str, int]
    raised: Mapping[str, int]
    """Calls, or releases, that raised instead of answering: none should."""
    latency: HistogramSnapshot
    reset: HistogramSnapshot


class ReplyKind(StrEnum):
    """What a driver has to say."""

    READY = "ready"
    """The server side serves. First line of every driver that can."""
    UNAVAILABLE = "unavailable"
    """It cannot run on this machine; first and last line."""
    PROGRESS = "progress"
    """So many commands are done."""
    RESULT = "result"


@frozen(kw_only=True)
class Reply:
    """Driver to harness."""

    kind: ReplyKind
    text: str = ""
    done: int = 0
    result: LoadResult | None = None
    commands: CommandsOutcome | None = None
