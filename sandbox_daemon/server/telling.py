"""What a daemon's spans and log records say of a call, and no more: not its command, not its output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from hermes_trio.telemetry import traces
from hermes_trio.telemetry.log import bound
from hermes_trio.wire.frames import Call
from sandbox_daemon.server.operations import OFFERED
from sandbox_daemon.slots.pool import Outcome

_KNOWN: Final = frozenset(OFFERED)
_CONVENTIONS: Final = {"exit_code": "process.exit.code", "pid": "process.pid"}
_OURS: Final = ("duration_s", "kill_ms", "stdout_bytes", "stderr_bytes", "killed")


@contextmanager
def told_of(call: Call) -> Iterator[traces.Span]:
    """A call's span, below the one that asked; and its names in what is logged meanwhile."""
    slot = call.lease.slot if call.lease is not None else ""
    operation = call.operation if call.operation in _KNOWN else "unknown"
    attributes: traces.Attributes = {
        "hermes_trio.operation": operation,
        "hermes_trio.trajectory": call.trajectory_id,
        "hermes_trio.slot": slot,
        "hermes_trio.call_id": call.call_id,
    }
    with (
        traces.running(
            f"sandbox {operation}",
            kind=traces.SpanKind.SERVER,
            parent=call.traceparent,
            attributes=attributes,
        ) as span,
        bound(trajectory=call.trajectory_id, call=call.call_id, slot=slot),
    ):
        yield span


def note_outcome(span: traces.Span, outcome: Outcome) -> None:
    """How it ended, and who is responsible."""
    if span.is_recording():
        span.set_attribute("hermes_trio.provenance", outcome.provenance.value)
        span.set_attributes(_figures(outcome.data))
        if outcome.provenance != "ok":
            traces.fail(span, outcome.provenance.value, outcome.error)


def _figures(data: Mapping[str, Any]) -> dict[str, Any]:
    names = _CONVENTIONS | {name: f"hermes_trio.{name}" for name in _OURS}
    return {
        told: data[name] for name, told in names.items() if isinstance(data.get(name), bool | int | float)
    }
