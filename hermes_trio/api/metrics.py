"""An executor's figures for Prometheus, read at the moment they are asked for. Needs the extra ``telemetry``.

Names follow Prometheus' conventions: base units, ``_total`` for what only grows. The executor's histograms
have 590 narrow buckets; what is told has :data:`BOUNDS_S`, and a duration that lies in the same narrow bucket
as a bound, 4 % wide, may be counted below it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from hermes_trio.executor.executor import Executor, ExecutorStatistics
from hermes_trio.telemetry.histogram import HistogramSnapshot, bucket_upper_s

if TYPE_CHECKING:
    from prometheus_client.core import HistogramMetricFamily, Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)
"""From a call that does nothing to the longest that there may be."""


def exposition(executor: Executor) -> bytes:
    """The figures of this moment, in Prometheus' text format.

    Raises:
        ModuleNotFoundError: the extra is not installed.
    """
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(executor))
    return generate_latest(registry)


class _Figures:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def collect(self) -> Iterator[Metric]:
        told = self._executor.statistics()
        yield from _calls(told)
        yield from _slots(told)
        yield from _links(told)
        yield from _events(self._executor)


def _calls(told: ExecutorStatistics) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    about = "Calls answered, by who is responsible for how they ended."
    calls = CounterMetricFamily("hermes_trio_calls", about, labels=["provenance"])
    for who, count in told.by_provenance.items():
        calls.add_metric([who.value], count)
    yield calls
    yield GaugeMetricFamily("hermes_trio_calls_in_flight", "Calls under way.", value=told.in_flight)
    yield _histogram("hermes_trio_call_duration_seconds", "Calls, from entering to leaving.", told.latency)
    yield _histogram("hermes_trio_call_queue_seconds", "Of it, before the call was sent.", told.queue)


def _slots(told: ExecutorStatistics) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    slots = GaugeMetricFamily("hermes_trio_slots", "Slots in service, by state.", labels=["state"])
    slots.add_metric(["free"], told.slots.free)
    slots.add_metric(["leased"], told.slots.leased)
    slots.add_metric(["changing"], told.slots.taken - told.slots.leased)
    yield slots
    waiting = "Trajectories that wait for a slot."
    yield GaugeMetricFamily("hermes_trio_trajectories_waiting", waiting, value=told.slots.waiting)
    daemons = GaugeMetricFamily(
        "hermes_trio_daemons", "Daemons, by whether they get calls.", labels=["state"]
    )
    daemons.add_metric(["open"], told.slots.daemons - told.slots.closed)
    daemons.add_metric(["closed"], told.slots.closed)
    yield daemons


def _links(told: ExecutorStatistics) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    messages = CounterMetricFamily("hermes_trio_link_messages_sent", "Messages sent.", labels=["daemon"])
    sent = CounterMetricFamily("hermes_trio_link_sent_bytes", "Bytes sent.", labels=["daemon"])
    received = CounterMetricFamily("hermes_trio_link_received_bytes", "Bytes received.", labels=["daemon"])
    queued = GaugeMetricFamily("hermes_trio_link_queued", "What waits to be sent.", labels=["daemon"])
    for name, link in told.links.items():
        messages.add_metric([name], link.messages_sent)
        sent.add_metric([name], link.bytes_sent)
        received.add_metric([name], link.bytes_received)
        queued.add_metric([name], link.queued)
    yield from (messages, sent, received, queued)
    yield CounterMetricFamily("hermes_trio_link_resumes", "Links resumed.", value=told.reconnects)
    yield CounterMetricFamily("hermes_trio_sessions_lost", "Sessions lost.", value=told.sessions_lost)


def _events(executor: Executor) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily

    about = "Events that listeners were too slow for."
    yield CounterMetricFamily("hermes_trio_events_dropped", about, value=executor.bus.dropped)


def _histogram(name: str, about: str, told: HistogramSnapshot) -> HistogramMetricFamily:
    from prometheus_client.core import HistogramMetricFamily

    buckets = [(f"{bound:g}", float(_up_to(bound, told))) for bound in BOUNDS_S]
    return HistogramMetricFamily(
        name, about, buckets=[*buckets, ("+Inf", float(told.count))], sum_value=told.total_s
    )


def _up_to(bound_s: float, told: HistogramSnapshot) -> int:
    """Durations counted below a bound: those of narrow buckets that begin below it."""
    return sum(count for index, count in told.buckets if index == 0 or bucket_upper_s(index - 1) < bound_s)
