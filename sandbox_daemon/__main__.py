"""The program ``sandbox-daemon``."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import trio

from hermes_trio.errors import HermesTrioError, InvalidInputError
from hermes_trio.telemetry.options import read_telemetry, telemetry
from sandbox_daemon.config import DaemonConfig, config_from
from sandbox_daemon.isolation.levels import as_json
from sandbox_daemon.isolation.probe import survey
from sandbox_daemon.server.daemon import run_daemon

EXIT_BAD_INPUT = 2
EXIT_ENVIRONMENT = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon; returns the exit code. 2: bad input; 3: the host lacks something."""
    try:
        options, config = config_from(arguments)
        with telemetry(read_telemetry(options), service="sandbox-daemon"):
            if config is None:
                return _print_probe()
            _run(config)
    except InvalidInputError as exc:
        return _complain(exc, EXIT_BAD_INPUT)
    except (HermesTrioError, OSError) as exc:
        return _complain(exc, EXIT_ENVIRONMENT)
    return 0


def _run(config: DaemonConfig) -> None:
    """Run until drained. A group of nothing but expected errors is reported by its first."""
    try:
        trio.run(run_daemon, config)
    except BaseExceptionGroup as group:
        expected, unexpected = group.split((HermesTrioError, OSError))
        if unexpected is not None or expected is None:
            raise
        raise _first(expected) from None


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _print_probe() -> int:
    with tempfile.TemporaryDirectory(prefix="sandbox-probe-") as directory:
        isolation = trio.run(survey, Path(directory))
    print(json.dumps(as_json(isolation)))  # noqa: T201 - the program's output
    return 0


def _complain(error: BaseException, code: int) -> int:
    print(f"sandbox-daemon: {error}", file=sys.stderr)  # noqa: T201 - the program's output
    return code


if __name__ == "__main__":
    sys.exit(main())
