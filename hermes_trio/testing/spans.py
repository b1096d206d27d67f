"""Spans in memory: what a test of traces looks at. Needs the extra ``traces``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from hermes_trio.telemetry import traces


class RecordedSpans:
    """Those that have ended, in the order in which they did."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def all(self) -> tuple[ReadableSpan, ...]:
        """All of them."""
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of one name."""
        return [span for span in self.all() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """The only one of its name."""
        (span,) = self.named(name)
        return span

    def parent_of(self, name: str) -> ReadableSpan | None:
        """The span above the only one of a name; ``None``: it has not ended, or there is none."""
        above = self.one(name).parent
        return next((span for span in self.all() if span.context == above), None) if above else None


@contextmanager
def recorded_spans() -> Iterator[RecordedSpans]:
    """Record what this process does while the body runs. Touches no global of OpenTelemetry's."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with traced_by(provider):
        yield RecordedSpans(exporter)
    provider.shutdown()


@contextmanager
def traced_by(provider: TracerProvider) -> Iterator[None]:
    """Give spans of this process to a provider while the body runs, whatever the process has set up."""
    before, traces._tracer = traces._tracer, provider.get_tracer("hermes_trio")
    try:
        yield
    finally:
        traces._tracer = before
