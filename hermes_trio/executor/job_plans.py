"""PURE. From a call about a background job to the daemon's operation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from hermes_trio.executor.config import MAX_LIMIT_S, MIN_LIMIT_S, ExecutorConfig
from hermes_trio.executor.file_plans import Built
from hermes_trio.executor.usable import UnusableError, text_argument
from hermes_trio.wire.operations import JobAction, Operation

MAX_JOB_LIMIT_S: Final = 7 * 24 * 3600.0
_SHOWN_BYTES: Final = 30_000
_MAX_SHOWN_BYTES: Final = 100_000
_MAX_OFFSET: Final = 1 << 53


def start_job(arguments: Mapping[str, Any], config: ExecutorConfig) -> Built:
    """A shell's call with ``background``. Its ``timeout``, if it has one, is the job's own limit."""
    sent: dict[str, Any] = {
        "action": JobAction.START,
        "command": text_argument(arguments, "command", nul=False),
        "allow_network": config.allow_network,
        "require_sandbox": config.require_sandbox,
    }
    for name in ("cwd", "shell"):
        if name in arguments:
            sent[name] = text_argument(arguments, name, nul=False)
    match arguments.get("timeout"):
        case (int() | float()) as timeout if not math.isnan(timeout):
            sent["limit_s"] = float(max(MIN_LIMIT_S, min(timeout, MAX_JOB_LIMIT_S)))
    return Operation.JOB, sent, b""


_ACTIONS: Final[Mapping[str, JobAction]] = {
    "list": JobAction.LIST,
    "logs": JobAction.LOGS,
    "wait": JobAction.WAIT,
    "signal": JobAction.SIGNAL,
    "stdin": JobAction.INPUT,
}


def about_job(arguments: Mapping[str, Any], config: ExecutorConfig) -> Built:
    """A call of the tool ``job``, within bounds that a model cannot leave."""
    action = _ACTIONS[arguments["action"]]
    sent: dict[str, Any] = {"action": action}
    if action is not JobAction.LIST:
        sent["job"] = text_argument(arguments, "job")
    waits_s = 0.0 if action is JobAction.LOGS else config.default_limit_s
    payload = b""
    match action:
        case JobAction.LOGS:
            sent |= _part(arguments)
        case JobAction.SIGNAL:
            sent["signal"] = text_argument(arguments, "signal", default="TERM")
        case JobAction.INPUT:
            payload = text_argument(arguments, "input", default="").encode()
            sent["eof"] = bool(arguments.get("eof", False))
            if not payload and not sent["eof"]:
                raise UnusableError("Invalid arguments: stdin wants 'input', or 'eof'")
        case _:
            pass
    sent["max_wait_s"] = max(0.0, min(float(arguments.get("timeout", waits_s)), MAX_LIMIT_S))
    return Operation.JOB, sent, payload


def _part(arguments: Mapping[str, Any]) -> dict[str, Any]:
    most = arguments.get("max_bytes", _SHOWN_BYTES)
    part: dict[str, Any] = {"max_bytes": max(1, min(most, _MAX_SHOWN_BYTES))}
    if "offset" in arguments:
        return part | {"offset": max(0, min(arguments["offset"], _MAX_OFFSET))}
    return part | {"follow": True}
