"""Loggers: what happened is a sentence that never changes, what it happened to are named values.

Theory of operation. These are the standard library's loggers: nothing is configured here, and whoever uses us
as a library sees our records in whatever they have configured, as ``sentence name=value name=value``. The
programs configure (``rendering.py``), and get the values one by one. structlog is not imported here: it takes
0.15 s of processor time, and asyncio with it.

:func:`bound` gives every record of a task, and of the tasks that it starts, the names of what it works for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import MappingProxyType
from typing import Any, Final

from hermes_trio.telemetry.redaction import redacted

LEVELS: Final = ("debug", "info", "warning", "error")
"""Of what a program writes."""
FORMATS: Final = ("auto", "json", "pretty")
"""How."""
RECORD_ATTRIBUTE: Final = "hermes_trio"
"""Of a record of ours: the sentence and the values, apart."""
MAX_VALUE_CHARS: Final = 2000

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_bound: ContextVar[Mapping[str, Any]] = ContextVar("hermes_trio_log", default=_NOTHING)


class bound:
    """Gives what is logged in its block these values. Empty ones are left out.

    Entered for each call, hence a class: a generator costs twice as much.
    """

    __slots__ = ("_token", "_values")

    def __init__(self, **values: Any) -> None:
        self._values = values
        self._token: Token[Mapping[str, Any]] | None = None

    def __enter__(self) -> None:
        """From here on."""
        self._token = _bound.set({**_bound.get(), **self._values})

    def __exit__(self, *_: object) -> None:
        """As before."""
        assert self._token is not None
        _bound.reset(self._token)


def bound_values() -> Mapping[str, Any]:
    """What records of this task are given."""
    return _bound.get()


class Logger:
    """Made by :func:`get_logger`. Each method: a sentence, and what it is about."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def __repr__(self) -> str:
        return f"<Logger {self._logger.name}>"

    def debug(self, event: str, /, *, exc_info: bool = False, **values: Any) -> None:
        """For who looks for a bug."""
        self._log(logging.DEBUG, event, values, exc_info)

    def info(self, event: str, /, **values: Any) -> None:
        """In order, and rare enough to be told."""
        self._log(logging.INFO, event, values)

    def warning(self, event: str, /, **values: Any) -> None:
        """Not in order, and mended."""
        self._log(logging.WARNING, event, values)

    def error(self, event: str, /, *, exc_info: BaseException | None = None, **values: Any) -> None:
        """Something was lost."""
        self._log(logging.ERROR, event, values, exc_info)

    def critical(self, event: str, /, **values: Any) -> None:
        """A promise is broken."""
        self._log(logging.CRITICAL, event, values)

    def exception(self, event: str, /, **values: Any) -> None:
        """An error, with the exception that is being handled."""
        self._log(logging.ERROR, event, values, True)

    def _log(
        self,
        level: int,
        event: str,
        values: Mapping[str, Any],
        exc_info: bool | BaseException | None = None,
    ) -> None:
        if not self._logger.isEnabledFor(level):
            return
        told = {name: value for name, value in {**_bound.get(), **values}.items() if value not in ("", None)}
        words = "".join(f" {name}={_shown(value)}" for name, value in told.items())
        # Not as a format: a value may hold a percent sign.
        self._logger.log(
            level,
            "%s",
            redacted(event + words),
            exc_info=exc_info or None,
            stacklevel=3,
            extra={RECORD_ATTRIBUTE: (event, told)},
        )


def _shown(value: Any) -> str:
    text = str(value)
    if len(text) > MAX_VALUE_CHARS:
        text = f"{text[: MAX_VALUE_CHARS - 1]}…"
    return repr(text) if " " in text or not text.isprintable() else text


def get_logger(name: str) -> Logger:
    """The logger of a module, whose ``__name__`` it is given."""
    return Logger(logging.getLogger(name))
