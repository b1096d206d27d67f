"""How the programs write their logs: JSON lines, or for people, on standard error. The one use of structlog.

Everything goes the same way: our records with their values, and the records of every library, which are a
sentence. The last step before writing takes secrets out, of tracebacks too.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO

import orjson
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import JSONRenderer, TimeStamper, format_exc_info
from structlog.stdlib import ProcessorFormatter, add_log_level, add_logger_name
from structlog.typing import EventDict, Processor

from hermes_trio.errors import InvalidInputError
from hermes_trio.telemetry.log import FORMATS, LEVELS, MAX_VALUE_CHARS, RECORD_ATTRIBUTE
from hermes_trio.telemetry.redaction import redacted

OURS: Final = ("hermes_trio", "sandbox_daemon")
AUDIT: Final = "hermes_trio.audit"
"""Who did what to somebody else's work; written at every level but `error`."""
MAX_EXCEPTION_CHARS: Final = 64 * 1024
_MAX_DEPTH: Final = 4


def configure_logs(*, level: str = "warning", form: str = "auto") -> None:
    """Take over the logging of this process. For programs; never called on import.

    Args:
        level: one of ``LEVELS``, of our own records; libraries are heard from ``warning`` on.
        form: one of ``FORMATS``; ``auto``: for people on a terminal, JSON lines elsewhere.

    Raises:
        InvalidInputError: it is none of these.
    """
    if level not in LEVELS:
        raise InvalidInputError(f"must be one of {', '.join(LEVELS)}, not {level[:40]!r}", field="level")
    if form not in FORMATS:
        raise InvalidInputError(f"must be one of {', '.join(FORMATS)}, not {form[:40]!r}", field="form")
    handler = StandardError()
    handler.setFormatter(formatter_of(form, terminal=sys.stderr.isatty()))
    logging.root.handlers[:] = [handler]
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.root.setLevel(max(number, logging.WARNING))
    for name in OURS:
        logging.getLogger(name).setLevel(number)
    logging.getLogger(AUDIT).setLevel(number if level == "error" else min(number, logging.INFO))


class StandardError(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at the moment: a progress bar puts itself in its place."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        self.stream = sys.stderr
        super().emit(record)


def formatter_of(form: str, *, terminal: bool) -> ProcessorFormatter:
    """A formatter of the standard library's, for everybody's records."""
    pretty = form == "pretty" or (form == "auto" and terminal)
    writing: Processor = (
        ConsoleRenderer(colors=terminal, exception_formatter=plain_traceback)
        if pretty
        else JSONRenderer(serializer=_json)
    )
    return ProcessorFormatter(
        foreign_pre_chain=[_apart, add_log_level, add_logger_name],
        processors=[
            TimeStamper(fmt="%H:%M:%S" if pretty else "iso", utc=not pretty),
            format_exc_info,
            ProcessorFormatter.remove_processors_meta,
            redact,
            writing,
        ],
    )


def _apart(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """The values of a record of ours, one by one."""
    ours = getattr(event["_record"], RECORD_ATTRIBUTE, None)
    if ours is not None:
        sentence, values = ours
        event.update({f"_{name}" if name in event else name: value for name, value in values.items()})
        event["event"] = sentence
    return event


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: no secret leaves, wherever it stands."""
    for name, value in event.items():
        event[name] = _without_secrets(value, MAX_EXCEPTION_CHARS if name == "exception" else MAX_VALUE_CHARS)
    return event


def _without_secrets(value: Any, most: int, depth: int = 0) -> Any:
    match value:
        case None | bool() | float():
            return value
        case int() if abs(value) < 1 << 63:
            return value
        case Mapping() if depth < _MAX_DEPTH:
            return {_safe(str(name), 200): _without_secrets(v, most, depth + 1) for name, v in value.items()}
        case list() | tuple() if depth < _MAX_DEPTH:
            return [_without_secrets(item, most, depth + 1) for item in value]
        case _:
            return _safe(str(value), most)


_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def _safe(text: str, most: int) -> str:
    """Without secrets, bounded, and with nothing in it that a terminal obeys or that JSON cannot say."""
    text = redacted(text)
    if len(text) > most:  # the end of a traceback says more than its middle
        text = f"{text[: most // 2]} … {text[-most // 2 :]}"
    return text if text.isprintable() else _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _json(event: MutableMapping[str, Any], **_: Any) -> str:
    return orjson.dumps(event).decode()
