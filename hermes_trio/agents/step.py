"""The agent, without I/O: a transcript, and what to do next after each event. PURE.

Theory of operation. :class:`Conversation` owns the transcript while a loop runs. Its ``step`` takes what
happened and gives what to do::

    Started ──► AskModel ──► ModelAnswered ──► RunCalls ──► CallEnded ... CallEnded ──► AskModel ──► ...
                         └─► ModelFailed   └─► Finish   └─► Wait between them       └─► Finish

Calls may end in any order; their answers enter the transcript in the order in which the model made them.
Two invariants hold after every step: no more than ``max_turns`` answers were asked for, and the answers
of a turn stand right behind it. After ``abandon``, which needs no await and may be called at any moment,
every tool call of the transcript has exactly one answer.

A result whose provenance is an infrastructure failure ends the conversation. Its call is answered with a
sentence that says that it did not run to its end, never with an output.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, assert_never

from attrs import define, evolve, frozen

from hermes_trio.agents.answer import Answer, CallRequest
from hermes_trio.agents.plan import LocalAnswer, Plan, Refusal, is_error, plan_call
from hermes_trio.agents.result import MAX_ARGUMENTS_CHARS, MAX_RESULT_CHARS, Ending, ToolError
from hermes_trio.errors import LocalProtocolError, Provenance
from hermes_trio.models.completion import Usage
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import ToolRegistry
from hermes_trio.tools.render import error_content, result_to_content
from hermes_trio.tools.todo import TodoStore

NOT_COMPLETED = "This call was not completed: the sandbox failed. It says nothing about the command."
ABANDONED = "This call was not completed: the trajectory was ended."


@frozen
class Started:
    """Begin."""


@frozen
class ModelAnswered:
    """The model took its turn."""

    answer: Answer


@frozen
class ModelFailed:
    """The model did not take its turn."""

    error: str
    provenance: Provenance = Provenance.MODEL_ERROR


@frozen
class CallEnded:
    """One of the calls to run has its result."""

    call_id: str
    result: ToolResult


Event = Started | ModelAnswered | ModelFailed | CallEnded


@frozen
class AskModel:
    """Send the transcript to the model."""


@frozen
class RunCalls:
    """Run these, in this order or at once."""

    calls: tuple[ToolCall, ...]


@frozen
class Wait:
    """Nothing to do until another call has ended."""


@frozen
class Finish:
    """It is over."""

    ending: Ending
    provenance: Provenance = Provenance.OK
    error: str = ""


Action = AskModel | RunCalls | Wait | Finish


class _Phase(Enum):
    NEW = auto()
    ASKING = auto()
    CALLING = auto()
    DONE = auto()


@define
class _OpenCall:
    request: CallRequest
    content: str | None = None
    """The answer, once there is one; it enters the transcript when all before it have."""


class Conversation:
    """One trajectory's transcript and its rules. See the module.

    Args:
        messages: grown in place.
        tools: what may be called.
        max_turns: model calls at most.
    """

    def __init__(self, messages: list[dict[str, Any]], tools: ToolRegistry, *, max_turns: int) -> None:
        self.messages = messages
        self.turns_used = 0
        self.reasoning_per_turn: list[str | None] = []
        self.tool_errors: list[ToolError] = []
        self.usage = Usage()
        self.finish_reason: str | None = None
        self._tools = tools
        self._max_turns = max_turns
        self._todo = TodoStore()
        self._phase = _Phase.NEW
        self._open: list[_OpenCall] = []
        self._ids = {call["id"] for message in messages for call in message.get("tool_calls") or ()}

    def step(self, event: Event) -> Action:
        """Take in what happened.

        Raises:
            LocalProtocolError: the event cannot happen now, or is about a call that is not open.
        """
        match event:
            case Started():
                self._expect(_Phase.NEW, event)
                return self._next_turn()
            case ModelAnswered(answer):
                self._expect(_Phase.ASKING, event)
                return self._answered(answer)
            case ModelFailed(error, provenance):
                self._expect(_Phase.ASKING, event)
                return self._finish(Finish(Ending.MODEL_FAILED, provenance, error))
            case CallEnded(call_id, result):
                self._expect(_Phase.CALLING, event)
                return self._call_ended(self._find_open(call_id), result)
            case _:
                assert_never(event)

    def abandon(self) -> None:
        """Answer whatever is open: the transcript is then complete, wherever it was left. Idempotent."""
        self._close_open(ABANDONED)
        self._phase = _Phase.DONE

    def _expect(self, phase: _Phase, event: Event) -> None:
        if self._phase is not phase:
            raise LocalProtocolError(f"{type(event).__name__} while {self._phase.name.lower()}")

    def _next_turn(self) -> Action:
        if self.turns_used >= self._max_turns:
            return self._finish(Finish(Ending.TURN_LIMIT, Provenance.LIMIT_EXCEEDED))
        self.turns_used += 1
        self._phase = _Phase.ASKING
        return AskModel()

    def _finish(self, finish: Finish) -> Finish:
        self._phase = _Phase.DONE
        return finish

    def _answered(self, answer: Answer) -> Action:
        requests = tuple(self._with_own_id(index, call) for index, call in enumerate(answer.calls))
        self._record_turn(answer, requests)
        if not requests:
            return self._finish(Finish(Ending.FINISHED))
        self._open = [_OpenCall(request) for request in requests]
        self._phase = _Phase.CALLING
        to_run = tuple(call for call in map(self._start, self._open) if call is not None)
        self._flush()
        return RunCalls(to_run) if to_run else self._next_turn()

    def _record_turn(self, answer: Answer, requests: tuple[CallRequest, ...]) -> None:
        self.reasoning_per_turn.append(answer.reasoning)
        self.finish_reason = answer.finish_reason
        self.usage += answer.usage or Usage()
        self.messages.append(_assistant_message(answer, requests))

    def _with_own_id(self, index: int, request: CallRequest) -> CallRequest:
        """Ids tie answers to calls, and some servers leave them out or start over each turn."""
        call_id, attempt = request.call_id, 0
        while not call_id or call_id in self._ids:
            call_id = f"call_{self.turns_used}_{index}" + ("" if attempt == 0 else f"_{attempt}")
            attempt += 1
        self._ids.add(call_id)
        return evolve(request, call_id=call_id)

    def _start(self, opened: _OpenCall) -> ToolCall | None:
        plan: Plan = plan_call(opened.request, self._tools, self._todo)
        match plan:
            case ToolCall():
                return plan
            case LocalAnswer(content):
                opened.content = content
            case Refusal(error, content):
                opened.content = content
                self._record_error(opened.request, error, content)
            case _:
                assert_never(plan)
        return None

    def _find_open(self, call_id: str) -> _OpenCall:
        for opened in self._open:
            if opened.request.call_id == call_id and opened.content is None:
                return opened
        raise LocalProtocolError(f"no call '{call_id}' is open")

    def _call_ended(self, opened: _OpenCall, result: ToolResult) -> Action:
        lost = result.provenance.is_infrastructure
        opened.content = error_content(NOT_COMPLETED) if lost else result_to_content(result)
        if is_error(result):
            self._record_error(opened.request, result.error, opened.content)
        if lost:
            self._close_open(ABANDONED)
            return self._finish(Finish(Ending.INFRASTRUCTURE, result.provenance, result.error))
        self._flush()
        return Wait() if self._open else self._next_turn()

    def _close_open(self, reason: str) -> None:
        for opened in self._open:
            if opened.content is None:
                opened.content = error_content(reason)
        self._flush()

    def _flush(self) -> None:
        while self._open and self._open[0].content is not None:
            answered = self._open.pop(0)
            call_id = answered.request.call_id
            self.messages.append({"role": "tool", "tool_call_id": call_id, "content": answered.content})

    def _record_error(self, request: CallRequest, error: str, content: str) -> None:
        self.tool_errors.append(
            ToolError(
                turn=self.turns_used,
                tool_name=request.name,
                arguments=request.arguments[:MAX_ARGUMENTS_CHARS],
                error=error,
                tool_result=content[:MAX_RESULT_CHARS],
            )
        )

    def __repr__(self) -> str:
        state = f"turn {self.turns_used}/{self._max_turns}, {len(self._open)} calls open"
        return f"<Conversation {self._phase.name.lower()}, {state}, {len(self.messages)} messages>"


def _assistant_message(answer: Answer, requests: tuple[CallRequest, ...]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.content}
    if requests:
        message["tool_calls"] = [_call_message(request) for request in requests]
    if answer.reasoning:
        # Chat templates render the thoughts of earlier turns from this member (Kimi K2, DeepSeek).
        message["reasoning_content"] = answer.reasoning
    return message


def _call_message(request: CallRequest) -> dict[str, Any]:
    function = {"name": request.name, "arguments": request.arguments}
    return {"id": request.call_id, "type": "function", "function": function}
