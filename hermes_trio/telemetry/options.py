"""The options by which a program is told what to tell of itself; the same for every program of ours."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import frozen

from hermes_trio.telemetry.exporting import CONSOLE, check_destination, exported
from hermes_trio.telemetry.log import FORMATS, LEVELS


@frozen(kw_only=True)
class TelemetrySettings:
    """What a program tells of itself.

    Args:
        log_level: from which level on, of our own records.
        log_format: see :func:`hermes_trio.telemetry.rendering.configure_logs`.
        traces: where spans go, see :func:`hermes_trio.telemetry.exporting.check_destination`; ``None``: as
            the environment says.
    """

    log_level: str = "warning"
    log_format: str = "auto"
    traces: str | None = None

    def for_daemons(self) -> tuple[str, ...]:
        """The options for daemons that this program starts.

        Their standard error is kept for their last words only, so they get no ``console``. What the
        environment says they hear themselves.
        """
        return () if self.traces in (None, CONSOLE) else ("--traces", self.traces)


def add_telemetry_options(parser: argparse.ArgumentParser, *, level: str) -> None:
    """Add them to a program, or to a verb.

    Args:
        parser: of it.
        level: the default of ``--log-level``.
    """
    group = parser.add_argument_group("what it tells of itself")
    group.add_argument(
        "--traces",
        metavar="WHERE",
        help="where spans go: the URL of an OTLP collector, as http://host:4318; a file, for JSON lines; or "
        "'console' (as OpenTelemetry's variables say, OTEL_EXPORTER_OTLP_ENDPOINT for instance)",
    )
    group.add_argument("--log-level", choices=LEVELS, default=level, help=f"on standard error ({level})")
    group.add_argument(
        "--log-format",
        choices=FORMATS,
        default="auto",
        help="'auto' (the default): for people on a terminal, JSON lines elsewhere",
    )


def read_telemetry(options: argparse.Namespace) -> TelemetrySettings:
    """The settings that these options stand for.

    Raises:
        InvalidInputError: spans cannot go where they should.
    """
    traces = None if options.traces is None else check_destination(options.traces)
    return TelemetrySettings(log_level=options.log_level, log_format=options.log_format, traces=traces)


@contextmanager
def telemetry(settings: TelemetrySettings, *, service: str) -> Iterator[None]:
    """Tell it while the body runs, which is the program.

    Args:
        settings: what is told.
        service: the program's name in traces.

    Raises:
        InvalidInputError: spans cannot go where they should.
        UnavailableError: the extra ``traces`` is wanted, and not installed.
    """
    # Not above: structlog takes its time, and whoever embeds us does not need it.
    from hermes_trio.telemetry.rendering import configure_logs

    configure_logs(level=settings.log_level, form=settings.log_format)
    with exported(settings.traces, service=service):
        yield
