"""Spans: what is done for whom, across processes, through OpenTelemetry's API alone.

Theory of operation. A program (ours, or whoever embeds us) may have set up OpenTelemetry's SDK; then spans
are recorded, sampled and sent as it says. Without one, the API makes spans of nothing: a span here then costs
a few microseconds, and a ``traceparent`` that came in still goes out again.

Between processes travels only W3C Trace Context's ``traceparent``. What comes from outside is read by
:func:`context_of`: bounded, and whatever is no traceparent is as if it had not come.

What a span says is bounded and without secrets; commands, messages and output are never in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import Token
from types import TracebackType
from typing import Final, TypeAlias

import trio
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from hermes_trio.errors import Provenance
from hermes_trio.telemetry.events import bounded_text
from hermes_trio.telemetry.redaction import redacted

__all__ = [
    "MAX_NAME",
    "Attributes",
    "Span",
    "SpanKind",
    "begin",
    "context_of",
    "current_traceparent",
    "fail",
    "finish",
    "headers",
    "no_span",
    "running",
    "traceparent_of",
    "use",
]

Attributes: TypeAlias = Mapping[str, AttributeValue]

MAX_NAME: Final = 64
"""Characters of a name that a peer or a model made up."""
_MAX_TRACEPARENT: Final = 512
# Section 3.2.2.1; a later version may have more behind it (3.2.4).
_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(-[^\s]*)?"
)

_tracer = trace.get_tracer("hermes_trio")


def context_of(traceparent: str | None) -> SpanContext | None:
    """The span of another process that a header names; ``None``: it names none."""
    if traceparent is None or len(traceparent) > _MAX_TRACEPARENT:
        return None
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or (found[1] == "00" and found[5] is not None):
        return None
    return SpanContext(
        int(found[2], 16), int(found[3], 16), is_remote=True, trace_flags=TraceFlags(int(found[4], 16) & 1)
    )


def traceparent_of(span: Span) -> str | None:
    """How another process is told of a span; ``None``: there is nothing to tell."""
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def current_traceparent() -> str | None:
    """The same of the present task's span."""
    return traceparent_of(trace.get_current_span())


def headers() -> Mapping[str, str]:
    """The header by which a server is told of the present task's span; empty: there is nothing to tell."""
    told = current_traceparent()
    return {} if told is None else {"traceparent": told}


def no_span() -> Span:
    """A span of nothing."""
    return trace.INVALID_SPAN


def begin(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
    parent: str | None = None,
) -> Span:
    """Begin a span below the present task's. Whoever begins it ends it, by :func:`finish` for instance.

    Args:
        name: of few different ones.
        kind: OpenTelemetry's.
        attributes: by semantic conventions where there is one, else below ``hermes_trio.``.
        parent: traceparent of a span of another process, to begin below that one.
    """
    remote = context_of(parent)
    context = None if remote is None else trace.set_span_in_context(NonRecordingSpan(remote))
    return _tracer.start_span(name, context=context, kind=kind, attributes=attributes)


def fail(span: Span, kind: str, text: str = "") -> None:
    """Note that what a span stands for did not succeed.

    Args:
        span: it may have been recorded or not.
        kind: the conventions' ``error.type``: of few different ones.
        text: for people.
    """
    if span.is_recording():
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, bounded_text(redacted(text)) or kind))


def finish(
    span: Span, provenance: Provenance, error: str = "", *, attributes: Attributes | None = None
) -> None:
    """End a span with who is responsible for the ending.

    Args:
        span: a call's.
        provenance: becomes the status, and an attribute.
        error: for people.
        attributes: what is known at the end.
    """
    if span.is_recording():
        span.set_attributes({"hermes_trio.provenance": provenance.value, **(attributes or {})})
        if provenance is not Provenance.OK:
            fail(span, provenance.value, error)
    span.end()


class use:
    """Makes a span the present task's while the block runs, and of the tasks that it starts."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span
        self._token: Token[contexts.Context] | None = None

    def __enter__(self) -> Span:
        """From here on. A span of nothing hides nobody, and costs nothing."""
        if self._span.get_span_context().is_valid:
            self._token = contexts.attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """As before."""
        if self._token is not None:
            contexts.detach(self._token)


class running(use):
    """A span from here to the end of the block, see :func:`begin`. What leaves the block is in its status."""

    __slots__ = ()

    def __init__(
        self,
        name: str,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes | None = None,
        parent: str | None = None,
    ) -> None:
        super().__init__(begin(name, kind=kind, attributes=attributes, parent=parent))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """The end."""
        super().__exit__(kind, error, where)
        if isinstance(error, trio.Cancelled):
            fail(self._span, Provenance.CANCELLED.value)
        elif error is not None:
            fail(self._span, type(error).__qualname__, str(error))
        self._span.end()
