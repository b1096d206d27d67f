"""The calls that are under way: one entry each, told to whoever listens when it begins and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import trio
from attrs import define, field

from hermes_trio.errors import Provenance
from hermes_trio.executor.plan import Plan, Refuse, RunInSlot
from hermes_trio.fleet.calls import CallRecord
from hermes_trio.telemetry import traces
from hermes_trio.telemetry.bus import EventBus
from hermes_trio.telemetry.events import (
    CallEnded,
    CallQueued,
    CallRunning,
    Event,
    bounded_text,
)
from hermes_trio.tools.calls import ToolCall, ToolResult

_TOLD_OF_ARGUMENTS: Final = ("command", "path", "name", "action")
"""Arguments of which the first that is there says what a call does."""


@define(eq=False)
class LiveCall:
    """One call, from walking in until walking out."""

    number: int
    trajectory_id: str
    call: ToolCall
    plan: Plan
    entered: float
    record: CallRecord | None = None
    """Set when it was submitted to a slot."""
    task: trio.lowlevel.Task | None = None
    """Who waits for it."""
    span: traces.Span = field(factory=traces.no_span, repr=False)
    scope: trio.CancelScope | None = None
    """Around a call that is not streamed: cancelling it ends the call, as its caller could."""


class CallWatch:
    """All calls that are under way.

    Args:
        bus: where it is told.
        daemon_of: the daemon of a trajectory's slot, if it has one now.
    """

    def __init__(self, bus: EventBus, *, daemon_of: Callable[[str], str | None]) -> None:
        self._bus = bus
        self._daemon_of = daemon_of
        self._live: dict[int, LiveCall] = {}
        self._count = 0

    def __len__(self) -> int:
        """Calls that are under way."""
        return len(self._live)

    def __repr__(self) -> str:
        return f"<CallWatch {len(self._live)} under way, {self._count} so far>"

    def find(self, number: int) -> LiveCall | None:
        """The call of this number, if it is under way."""
        return self._live.get(number)

    def calls(self) -> tuple[LiveCall, ...]:
        """All of them, oldest first."""
        return tuple(self._live.values())

    def begin(self, trajectory_id: str, call: ToolCall, plan: Plan) -> LiveCall:
        """A call walked in."""
        self._count += 1
        live = LiveCall(self._count, trajectory_id, call, plan, trio.current_time())
        live.task = trio.lowlevel.current_task()
        live.span = _span(live)
        self._live[live.number] = live
        if self._bus.listening:
            self._bus.publish(_queued(live))
            if _runs_here(plan):
                self._bus.publish(CallRunning(call=live.number))
        return live

    def end(self, live: LiveCall, result: ToolResult | None) -> None:
        """It is over; ``None``: its caller left. Means nothing the second time."""
        if self._live.pop(live.number, None) is None:
            return
        if self._bus.listening:
            self._bus.publish(_ended(live, result))
        _end_span(live, result)

    def present(self) -> Iterator[tuple[float, Event]]:
        """The events that make what is under way now."""
        for live in self._live.values():
            yield live.entered, _queued(live)
            record = live.record
            if _runs_here(live.plan):
                yield live.entered, CallRunning(call=live.number)
            elif record is not None and record.sent_at is not None:
                yield record.sent_at, record.packed(self._daemon_of(live.trajectory_id) or "")
                if record.started_at is not None:
                    yield record.started_at, CallRunning(call=live.number, pid=record.pid)


def _runs_here(plan: Plan) -> bool:
    return not isinstance(plan, (Refuse, RunInSlot))


def _span(live: LiveCall) -> traces.Span:
    name = live.call.name[: traces.MAX_NAME]
    attributes: traces.Attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.id": live.call.uniq_id[: traces.MAX_NAME],
        "gen_ai.conversation.id": live.trajectory_id,
        "hermes_trio.call": live.number,
    }
    return traces.begin(f"execute_tool {name}", attributes=attributes)


def _end_span(live: LiveCall, result: ToolResult | None) -> None:
    sent_at = live.record.sent_at if live.record is not None else None
    queued = {} if sent_at is None else {"hermes_trio.queue_s": sent_at - live.entered}
    if result is None:
        traces.finish(live.span, Provenance.CANCELLED, "its caller left", attributes=queued)
    else:
        traces.finish(live.span, result.provenance, result.error, attributes=queued)


def _queued(live: LiveCall) -> CallQueued:
    return CallQueued(
        call=live.number,
        trajectory=live.trajectory_id,
        tool=live.call.name,
        uniq_id=live.call.uniq_id,
        limit_s=0.0 if isinstance(live.plan, Refuse) else live.plan.limit_s,
        slot_bound=isinstance(live.plan, RunInSlot),
        summary=_summary(live.call.arguments),
    )


def _summary(arguments: Mapping[str, Any]) -> str:
    told = next((arguments[name] for name in _TOLD_OF_ARGUMENTS if name in arguments), "")
    return bounded_text(told) if isinstance(told, str) else ""


def _ended(live: LiveCall, result: ToolResult | None) -> CallEnded:
    sent_at = live.record.sent_at if live.record is not None else None
    metadata = {} if result is None else result.metadata
    return CallEnded(
        call=live.number,
        trajectory=live.trajectory_id,
        tool=live.call.name,
        provenance=Provenance.CANCELLED if result is None else result.provenance,
        success=result is not None and result.success,
        latency_s=trio.current_time() - live.entered,
        queue_s=None if sent_at is None else sent_at - live.entered,
        run_s=_number(metadata.get("duration_s")),
        output_bytes=_output_bytes(metadata),
        error=bounded_text("its caller left" if result is None else result.error),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _output_bytes(metadata: Mapping[str, Any]) -> int | None:
    told = [
        metadata[name] for name in ("stdout_bytes", "stderr_bytes") if isinstance(metadata.get(name), int)
    ]
    return sum(told) if told else None
