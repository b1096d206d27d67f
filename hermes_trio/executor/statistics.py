"""What an executor counts."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from hermes_trio.errors import Provenance
from hermes_trio.link.pump import PumpStatistics
from hermes_trio.slots.table import SlotTableStatistics
from hermes_trio.telemetry.histogram import HistogramSnapshot


@frozen(kw_only=True)
class ExecutorStatistics:
    """What an executor has done and holds. Constant in size, however long it runs."""

    total_requests: int
    """Calls answered, however they ended."""
    total_errors: int
    """Calls whose result was not a success."""
    by_provenance: Mapping[Provenance, int]
    in_flight: int
    """Calls whose callers are waiting now."""
    latency: HistogramSnapshot
    """Seconds from entering :meth:`Executor.execute` to leaving it, of answered calls."""
    queue: HistogramSnapshot
    """Seconds of it before the call was put on the wire: waiting for a slot and for the link."""
    slots: SlotTableStatistics
    links: Mapping[str, PumpStatistics]
    reconnects: int
    """Links that went on with a session where the link before had been lost; callers saw a latency."""
    sessions_lost: int
    """Sessions that ended although nobody had said goodbye; their calls ended as lost."""
