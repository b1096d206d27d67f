"""Recording and sending spans: OpenTelemetry's SDK, as the programs set it up.

Theory of operation. Spans that have ended wait in a bounded queue (``OTEL_BSP_MAX_QUEUE_SIZE``, 2048; one
more is dropped), and a thread of the SDK sends them in batches. The loop never waits for it. At the program's
end what is left is sent within :data:`FLUSH_LIMIT_S`; a collector that does not answer costs no more.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from hermes_trio.errors import InvalidInputError, UnavailableError
from hermes_trio.telemetry.log import get_logger
from hermes_trio.telemetry.redaction import redacted

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.util.types import AttributeValue

logger = get_logger(__name__)

CONSOLE: Final = "console"
FLUSH_LIMIT_S: Final = 5.0
MAX_URL: Final = 2048
_SIGNAL_PATH: Final = "/v1/traces"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def check_destination(where: str) -> str:
    """Return where spans are to go: a URL, ``console``, or else a file, whose path is made absolute.

    Raises:
        InvalidInputError: it cannot be used; the text does not repeat it.
    """
    if where == CONSOLE:
        return where
    if "://" not in where:
        if not where or "\0" in where:
            raise InvalidInputError("must be a URL, 'console' or a file", source="--traces")
        return str(Path(where).absolute())
    url = _url_of(where)
    if url is None or len(where) > MAX_URL:
        raise InvalidInputError("must be a URL of an OTLP collector, as http://host:4318", source="--traces")
    if url.username is not None or url.query or url.fragment:
        told = "takes no credentials, query or fragment in its URL: set OTEL_EXPORTER_OTLP_HEADERS"
        raise InvalidInputError(told, source="--traces")
    return where if url.path not in ("", "/") else f"{where.rstrip('/')}{_SIGNAL_PATH}"


def _url_of(text: str) -> SplitResult | None:
    try:
        url = urlsplit(text)
        return url if url.scheme in ("http", "https") and url.hostname and url.port != 0 else None
    except ValueError:
        return None


def wanted_by(environment: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's own variables ask for traces."""
    exporters = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporters:
        return exporters != "none"
    return any(environment.get(name) for name in _ENDPOINTS)


@contextmanager
def exported(where: str | None, *, service: str) -> Iterator[None]:
    """Record spans while the body runs, and send them. For programs.

    Args:
        where: see :func:`check_destination`; ``None``: as the environment says, which may be nowhere.
        service: the program's name, where the environment gives none.

    Raises:
        InvalidInputError: the destination cannot be used.
        UnavailableError: the extra ``traces`` is not installed.
    """
    if where is None and not wanted_by(os.environ):
        yield
        return
    provider = _provider(_exporter(where, os.environ), service)
    try:
        yield
    finally:
        _within(FLUSH_LIMIT_S, provider.shutdown)


def _provider(exporter: SpanExporter, service: str) -> TracerProvider:
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    told = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name" in told
    attributes: dict[str, AttributeValue] = {"process.pid": os.getpid()}
    resource = Resource.create(attributes if named else {**attributes, "service.name": service})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider


def _exporter(where: str | None, environment: Mapping[str, str]) -> SpanExporter:
    if where is None:
        where = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() or "otlp"
        if where not in (CONSOLE, "otlp"):
            raise InvalidInputError("must be otlp, console or none", source="OTEL_TRACES_EXPORTER")
    try:
        if where == CONSOLE:
            return _lines(sys.stderr.fileno())
        if where != "otlp" and "://" not in where:
            return line_exporter(where)
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(endpoint=None if where == "otlp" else where)
    except ImportError as error:
        raise UnavailableError(
            "Traces are asked for, and the OpenTelemetry SDK is not installed.",
            mend="Install it with: pip install 'hermes-trio[traces]'.",
        ) from error


def line_exporter(path: str) -> SpanExporter:
    """Writes one JSON object a line to the end of a file.

    Raises:
        InvalidInputError: it cannot be written.
    """
    return _lines(_opened(path))


def _opened(path: str) -> int:
    """Appended to, so that a daemon may write into the same file."""
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InvalidInputError(f"cannot be written: {error.strerror}", source=path) from error


def _lines(descriptor: int) -> SpanExporter:
    """One JSON object a line, each batch in one write."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Lines(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            text = "".join(span.to_json(indent=None) + "\n" for span in spans)
            try:
                _write_all(descriptor, redacted(text).encode("utf-8", "backslashreplace"))
            except OSError as error:
                logger.warning("spans could not be written", spans=len(spans), reason=error.strerror)
                return SpanExportResult.FAILURE
            return SpanExportResult.SUCCESS

    return Lines()


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _within(limit_s: float, work: Callable[[], object]) -> None:
    """Have something done, but wait no longer than this: its thread does not keep the process."""
    thread = threading.Thread(target=work, name="hermes-trio traces", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        logger.warning("the last spans could not be sent in time", limit_s=limit_s)
