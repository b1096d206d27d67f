"""What an agent loop tells on the event bus: its turns and its model calls, from beginning to end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import trio
from attrs import define

from hermes_trio.agents.events import ModelAnswered, ModelFailed
from hermes_trio.agents.step import Conversation
from hermes_trio.errors import Provenance
from hermes_trio.telemetry import traces
from hermes_trio.telemetry.bus import EventBus
from hermes_trio.telemetry.events import ModelCallBegan, ModelCallEnded, TurnBegan, TurnEnded, bounded_text

_ASKING: Final = {"gen_ai.operation.name": "chat"}


@define
class ToldModelCall:
    """A model call that is being told. ``answered`` stays ``None`` where it was given up."""

    answered: ModelAnswered | ModelFailed | None = None


class RunTelling:
    """One run of a loop, told.

    Args:
        bus: where.
        trajectory_id: whose run it is.
    """

    def __init__(self, bus: EventBus, trajectory_id: str) -> None:
        self._bus = bus
        self._trajectory = trajectory_id
        self._run = bus.next_number()

    @contextmanager
    def turn(self, conversation: Conversation, *, limit_s: float | None) -> Iterator[None]:
        """Tell of a turn, from here to the end of the block."""
        turn, errors = conversation.turns_used + 1, len(conversation.tool_errors)
        messages = len(conversation.messages)
        began = TurnBegan(trajectory=self._trajectory, run=self._run, turn=turn, limit_s=limit_s)
        self._bus.begin(("turn", self._run), began)
        span = traces.running(
            "turn", attributes={"gen_ai.conversation.id": self._trajectory, "hermes_trio.turn": turn}
        )
        try:
            with span:
                yield
        finally:
            added = conversation.messages[messages:]
            ended = TurnEnded(
                trajectory=self._trajectory,
                run=self._run,
                turn=turn,
                calls=sum(message.get("role") == "tool" for message in added),
                errors=len(conversation.tool_errors) - errors,
            )
            self._bus.end(("turn", self._run), ended)

    @contextmanager
    def model_call(self, conversation: Conversation) -> Iterator[ToldModelCall]:
        """Tell of a model call, from here to the end of the block."""
        told, began, turn = ToldModelCall(), trio.current_time(), conversation.turns_used + 1
        asked = ModelCallBegan(
            trajectory=self._trajectory, run=self._run, turn=turn, messages=len(conversation.messages)
        )
        self._bus.begin(("model", self._run), asked)
        span = traces.begin("chat", kind=traces.SpanKind.CLIENT, attributes=_ASKING)
        try:
            with traces.use(span):
                yield told
        finally:
            ended = self._model_call_ended(turn, trio.current_time() - began, told.answered)
            self._bus.end(("model", self._run), ended)
            traces.finish(span, ended.provenance, ended.error, attributes=_figures(ended, told.answered))

    def _model_call_ended(
        self, turn: int, latency_s: float, answered: ModelAnswered | ModelFailed | None
    ) -> ModelCallEnded:
        ended = partial(
            ModelCallEnded, trajectory=self._trajectory, run=self._run, turn=turn, latency_s=latency_s
        )
        match answered:
            case ModelAnswered(answer=answer):
                return ended(
                    provenance=Provenance.OK,
                    prompt_tokens=answer.usage.prompt_tokens if answer.usage else None,
                    completion_tokens=answer.usage.completion_tokens if answer.usage else None,
                    tool_calls=len(answer.calls),
                )
            case ModelFailed(error=error, provenance=provenance):
                return ended(provenance=provenance, error=bounded_text(error))
            case None:
                return ended(provenance=Provenance.CANCELLED, error="it was given up")


def _figures(ended: ModelCallEnded, answered: ModelAnswered | ModelFailed | None) -> dict[str, Any]:
    """Names of the semantic conventions for generative AI."""
    figures: dict[str, Any] = {}
    if ended.prompt_tokens is not None:
        figures["gen_ai.usage.input_tokens"] = ended.prompt_tokens
    if ended.completion_tokens is not None:
        figures["gen_ai.usage.output_tokens"] = ended.completion_tokens
    if isinstance(answered, ModelAnswered) and answered.answer.finish_reason:
        figures["gen_ai.response.finish_reasons"] = [answered.answer.finish_reason[: traces.MAX_NAME]]
    return figures
