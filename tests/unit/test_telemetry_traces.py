"""Spans through the API: what a hostile header can do, what an ending says, and nothing without an SDK."""

from __future__ import annotations

import pytest
import trio
from opentelemetry import trace

from hermes_trio.errors import InvalidInputError, Provenance
from hermes_trio.models.chat import ChatClient
from hermes_trio.telemetry import traces
from hermes_trio.telemetry.exporting import check_destination, wanted_by
from hermes_trio.telemetry.redaction import keep_secret
from hermes_trio.testing.spans import RecordedSpans

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "text", [GOOD, f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-what-the-future-says"]
)
def test_a_traceparent_is_read(text: str) -> None:
    """Also one of a later version, by the part that we know."""
    context = traces.context_of(text)
    assert context is not None
    assert (f"{context.trace_id:032x}", f"{context.span_id:016x}") == (TRACE, SPAN)
    assert context.is_remote
    assert context.trace_flags.sampled == (text[53:55] == "01")


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00",
        GOOD.upper(),
        f" {GOOD}",
        f"{GOOD}\n",
        f"{GOOD}-more",
        f"{GOOD}{'0' * 100_000}",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 100_000}",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-zz",
        f"00-{TRACE}-{SPAN}-1",
        "00-" + "٣" * 32 + f"-{SPAN}-01",
    ],
)
def test_what_is_no_traceparent_is_as_if_it_had_not_come(text: str | None) -> None:
    """No error, no cost, no span of another name."""
    assert traces.context_of(text) is None


def test_without_an_sdk_a_span_is_nothing_and_what_came_in_goes_out() -> None:
    """A trainer's trace is not cut by a program in between that records nothing."""
    with traces.running("nothing") as span:
        assert not span.is_recording()
        assert traces.current_traceparent() is None
    with traces.running("between", parent=GOOD) as span:
        assert not span.is_recording()
        assert traces.current_traceparent() == GOOD
    assert traces.current_traceparent() is None


async def test_what_leaves_a_span_is_in_its_status(recorded_spans: RecordedSpans) -> None:
    """An error by its class, a cancel as one; never a secret."""
    keep_secret("hunter22hunter22")
    with pytest.raises(ValueError, match="hunter"), traces.running("fails"):
        raise ValueError("hunter22hunter22 " + "x" * 10_000)
    with trio.CancelScope() as scope:
        scope.cancel()
        with traces.running("cancelled"):
            await trio.lowlevel.checkpoint()
    traces.finish(traces.begin("call"), Provenance.LIMIT_EXCEEDED, "too long")
    traces.finish(traces.begin("fine"), Provenance.OK)
    fails, cancelled, call, fine = recorded_spans.all()
    assert (fails.attributes or {})["error.type"] == "ValueError"
    assert (fails.status.description or "").startswith("[redacted] xxx")
    assert len(fails.status.description or "") <= 500
    assert not fails.events
    assert (cancelled.attributes or {})["error.type"] == "cancelled"
    assert call.attributes == {"error.type": "limit_exceeded", "hermes_trio.provenance": "limit_exceeded"}
    assert fine.attributes == {"hermes_trio.provenance": "ok"}
    assert fine.status.is_unset


async def test_a_span_belongs_to_a_task_and_to_those_that_it_starts(recorded_spans: RecordedSpans) -> None:
    """Neighbours do not see it."""

    async def child(name: str) -> None:
        with traces.running(f"{name}.child"):
            await trio.lowlevel.checkpoint()

    async def parent(name: str) -> None:
        with traces.running(name):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child, name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(parent, "a")
        nursery.start_soon(parent, "b")
    for name in "ab":
        assert recorded_spans.parent_of(f"{name}.child") is recorded_spans.one(name)
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize(
    ("where", "becomes"),
    [
        ("console", "console"),
        ("http://host:4318", "http://host:4318/v1/traces"),
        ("https://host/", "https://host/v1/traces"),
        ("http://host/otlp/v1/traces", "http://host/otlp/v1/traces"),
        ("/tmp/../spans.jsonl", "/tmp/../spans.jsonl"),
    ],
)
def test_where_spans_go(where: str, becomes: str) -> None:
    """A collector's address has the usual path where it has none."""
    assert check_destination(where) == becomes


@pytest.mark.parametrize(
    "where",
    [
        "",
        "ftp://host",
        "http://",
        "http://host:0",
        "http://host:99999999",
        "http://[::1",
        "http://me:hunter22@host",
        "http://host/?key=hunter22",
        "http://" + "h" * 3000,
        "a\0b",
    ],
)
def test_where_spans_cannot_go(where: str) -> None:
    """One sentence that names the option, and repeats nothing."""
    with pytest.raises(InvalidInputError, match=r"--traces") as caught:
        check_destination(where)
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://host:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://host:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://host:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
    ],
)
def test_the_standard_variables_ask_for_traces(environment: dict[str, str], wanted: bool) -> None:
    """As any program with OpenTelemetry hears them."""
    assert wanted_by(environment) is wanted


def test_a_model_server_is_sent_the_span_that_asks(recorded_spans: RecordedSpans) -> None:
    """As a header, and only where there is a span."""
    client = ChatClient("http://127.0.0.1:1/v1")
    (server,) = client._pool.servers
    assert "traceparent" not in server.request(b"{}").headers
    with traces.running("asks"):
        sent = server.request(b"{}").headers["traceparent"]
    context = recorded_spans.one("asks").context
    assert sent[:-2] == f"00-{context.trace_id:032x}-{context.span_id:016x}-"
