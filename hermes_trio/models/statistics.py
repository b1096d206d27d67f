"""What a chat client counts about itself. PURE."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field, frozen

from hermes_trio.models.completion import ChatCompletion, Usage
from hermes_trio.telemetry import HistogramSnapshot, LogHistogram


@frozen(kw_only=True)
class ServerStatistics:
    """One server of a client, now."""

    in_flight: int
    trajectories: int
    """That have their home there."""
    failures: int
    """One after another, up to now; 0: it is well."""
    shards: int
    """Connection pools, of at most 16 connections each."""


@frozen(kw_only=True)
class ChatStatistics:
    """What a client has done and holds. Constant in size, however long it runs."""

    answered: int
    failed: int
    """Calls that ended with a :class:`hermes_trio.models.errors.ModelError`, after their retries."""
    retried: int
    """Requests beyond the first of a call."""
    in_flight: int
    usage: Usage
    """Of all answered calls, as far as the servers told it."""
    latency: HistogramSnapshot
    """Seconds from asking to the last byte, of answered calls."""
    queue: HistogramSnapshot
    """Seconds of it before the attempt that was answered."""
    servers: Mapping[str, ServerStatistics]
    """By address."""


@define(eq=False)
class CallCounts:
    """Where a client counts."""

    answered: int = 0
    failed: int = 0
    usage: Usage = field(factory=Usage)
    latency: LogHistogram = field(factory=LogHistogram)
    queue: LogHistogram = field(factory=LogHistogram)

    def add(self, completion: ChatCompletion) -> None:
        """Count an answered call."""
        self.answered += 1
        self.usage += completion.usage or Usage()
        self.latency.record(completion.latency_s)
        self.queue.record(completion.queue_s)

    def statistics(
        self, *, in_flight: int, retried: int, servers: Mapping[str, ServerStatistics]
    ) -> ChatStatistics:
        """A snapshot, with what others count."""
        return ChatStatistics(
            answered=self.answered,
            failed=self.failed,
            retried=retried,
            in_flight=in_flight,
            usage=self.usage,
            latency=self.latency.snapshot(),
            queue=self.queue.snapshot(),
            servers=servers,
        )
