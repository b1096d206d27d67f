"""What a driver process and the harness say to each other, one JSON line each. PURE."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from benchmarks.arms.base import CallerSettings
from benchmarks.lib.load import Load, LoadResult


@frozen(kw_only=True)
class RunRequest:
    """Harness to driver: run this load with a caller of these settings."""

    load: Load
    settings: CallerSettings


class ReplyKind(StrEnum):
    """What a driver has to say."""

    READY = "ready"
    """The server side serves. First line of every driver that can."""
    UNAVAILABLE = "unavailable"
    """It cannot run on this machine; first and last line."""
    RESULT = "result"


@frozen(kw_only=True)
class Reply:
    """Driver to harness."""

    kind: ReplyKind
    text: str = ""
    result: LoadResult | None = None
