"""The agent, without I/O: a transcript, and what to do next after each event. PURE.

Theory of operation. :class:`Conversation` owns the transcript while a loop runs. Its ``step`` takes what
happened and gives what to do::

    Started ──► AskModel ──► ModelAnswered ──► RunCalls ──► CallEnded ... CallEnded ──► AskModel ──► ...
                         ├─► ModelFailed   ├─► Finish   ├─► Wait between them       └─► Finish
                         └─► Stopped       └─► AskModel └─► TurnTimeUp

``TimeUp`` may come at any moment. Calls may end in any order; their answers enter the transcript in the
order in which the model made them (:mod:`hermes_trio.agents.transcript`). No more than ``max_turns`` answers
are asked for. After ``abandon``, which needs no await and may be called at any moment, every tool call of the
transcript has exactly one answer.

A result whose provenance is an infrastructure failure ends the conversation. Its call is answered with a
sentence that says that it did not run to its end, never with an output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Any, assert_never

from hermes_trio.agents.answer import Answer, CallRequest
from hermes_trio.agents.events import (
    Action,
    AskModel,
    CallEnded,
    Event,
    Finish,
    ModelAnswered,
    ModelFailed,
    RunCalls,
    Started,
    Stopped,
    TimeUp,
    TurnTimeUp,
    Wait,
)
from hermes_trio.agents.limits import LoopLimits
from hermes_trio.agents.plan import LocalAnswer, Plan, Refusal, is_error, plan_call
from hermes_trio.agents.result import MAX_ARGUMENTS_CHARS, MAX_RESULT_CHARS, Ending, ToolError
from hermes_trio.agents.transcript import Transcript
from hermes_trio.errors import LocalProtocolError, Provenance
from hermes_trio.models.completion import Usage
from hermes_trio.models.tokens import TokenTrace
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import ToolRegistry
from hermes_trio.tools.render import error_content, result_to_content
from hermes_trio.tools.todo import TodoStore

NOT_COMPLETED = "This call was not completed: the sandbox failed. It says nothing about the command."
ABANDONED = "This call was not completed: the trajectory was ended."


class _Phase(Enum):
    NEW = auto()
    ASKING = auto()
    CALLING = auto()
    DONE = auto()


class Conversation:
    """One trajectory's transcript and its rules. See the module.

    Args:
        messages: grown in place.
        tools: what may be called.
        max_turns: model calls at most.
        max_tokens: of one turn; ``None``: the server's default.
        limits: all other limits.
    """

    def __init__(
        self,
        messages: list[dict[str, Any]],
        tools: ToolRegistry,
        *,
        max_turns: int,
        max_tokens: int | None = None,
        limits: LoopLimits | None = None,
    ) -> None:
        self.turns_used = 0
        self.reasoning_per_turn: list[str | None] = []
        self.tool_errors: list[ToolError] = []
        self.repeated_failures = 0
        self.usage = Usage()
        self.token_trace = TokenTrace()
        self.finish_reason: str | None = None
        self._transcript = Transcript(messages)
        self._tools = tools
        self._max_turns = max_turns
        self._max_tokens = max_tokens
        self._limits = limits or LoopLimits()
        self._todo = TodoStore()
        self._phase = _Phase.NEW
        self._finish: Finish | None = None
        self._generated_tokens = 0
        self._calls_run = 0
        self._failures: Counter[tuple[str, str, str]] = Counter()
        self._most_failures = 0
        self._unread: tuple[str, ...] = ()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The caller's own list."""
        return self._transcript.messages

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
                return self._model_failed(error, provenance)
            case CallEnded(call_id, result):
                self._expect(_Phase.CALLING, event)
                self._generated_tokens += event.generated_tokens
                return self._call_ended(self._transcript.find_open(call_id), result)
            case TurnTimeUp(limit_s):
                return self._turn_time_up(limit_s)
            case TimeUp(limit_s):
                return self._time_up(limit_s)
            case Stopped():
                self._expect(_Phase.ASKING, event)
                return self._end(Ending.STOPPED, Provenance.OK)
            case _:
                assert_never(event)

    def add_messages(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """Add what somebody else has to say, before the model is asked.

        Raises:
            LocalProtocolError: the model is not about to be asked.
            InvalidInputError: one has another role than ``user``, ``system`` or ``developer``.
        """
        if self._phase is not _Phase.ASKING:
            raise LocalProtocolError(f"messages while {self._phase.name.lower()}")
        for message in messages:
            self._transcript.add(message)

    def abandon(self) -> None:
        """Answer whatever is open: the transcript is then complete, wherever it was left. Idempotent."""
        self._transcript.close(ABANDONED)
        self._phase = _Phase.DONE

    def _expect(self, phase: _Phase, event: Event) -> None:
        if self._phase is not phase:
            raise LocalProtocolError(f"{type(event).__name__} while {self._phase.name.lower()}")

    # --- turns ----------------------------------------------------------------------------------------

    def _next_turn(self) -> Action:
        if self._unread:
            told = f"Nothing was run of what could not be read: {'; '.join(self._unread)}."
            self._unread = ()
            self._transcript.add({"role": "user", "content": f"{told} Write the whole call again."})
        if self._is_stuck():
            error = "one call failed again and again in the same way"
            return self._end(Ending.REPEATED_FAILURE, Provenance.LIMIT_EXCEEDED, error)
        if self._tokens_left() == 0:
            return self._end(Ending.TOKEN_LIMIT, Provenance.LIMIT_EXCEEDED)
        if self.turns_used >= self._max_turns:
            return self._end(Ending.TURN_LIMIT, Provenance.LIMIT_EXCEEDED)
        self._phase = _Phase.ASKING
        bounds = [bound for bound in (self._max_tokens, self._tokens_left()) if bound is not None]
        return AskModel(min(bounds, default=None))

    def _end(self, ending: Ending, provenance: Provenance, error: str = "") -> Finish:
        self._phase = _Phase.DONE
        self._finish = Finish(ending, provenance, error)
        return self._finish

    def _tokens_left(self) -> int | None:
        limit = self._limits.generated_tokens
        return None if limit is None else max(0, limit - self._generated_tokens)

    def _model_failed(self, error: str, provenance: Provenance) -> Finish:
        self.turns_used += 1
        return self._end(Ending.MODEL_FAILED, provenance, error)

    def _turn_time_up(self, limit_s: float) -> Action:
        if self._finish is not None:
            return self._finish
        if self._phase is _Phase.ASKING:
            error = f"the model did not answer within a turn's {limit_s:g} s"
            return self._model_failed(error, Provenance.MODEL_ERROR)
        told = f"This call was ended: the turn's time of {limit_s:g} s was over"
        for request in self._transcript.open_calls:
            self._refuse(request, told, f"{told}.")
        return self._next_turn()

    def _time_up(self, limit_s: float) -> Finish:
        if self._finish is not None:
            return self._finish
        self.turns_used += self._phase is _Phase.ASKING
        error = f"the trajectory's time of {limit_s:g} s was over"
        self._transcript.close(f"This call was not completed: {error}.")
        return self._end(Ending.TIME_LIMIT, Provenance.LIMIT_EXCEEDED, error)

    # --- the model's answer ---------------------------------------------------------------------------

    def _answered(self, answer: Answer) -> Action:
        self.turns_used += 1
        self._record_turn(answer)
        calls_left = self._calls_left()
        requests = self._transcript.add_turn(answer, turn=self.turns_used)
        if not requests:
            return self._next_turn() if self._unread else self._finished(answer)
        if calls_left == 0:
            error = f"the {self._limits.tool_calls} tool calls of this trajectory are used up"
            self._transcript.close(f"This call was not run: {error}.")
            return self._end(Ending.CALL_LIMIT, Provenance.LIMIT_EXCEEDED, error)
        self._phase = _Phase.CALLING
        to_run = self._start_all(requests)
        return RunCalls(to_run) if to_run else self._next_turn()

    def _finished(self, answer: Answer) -> Finish:
        if answer.finish_reason == "length" and self._tokens_left() == 0:
            return self._end(Ending.TOKEN_LIMIT, Provenance.LIMIT_EXCEEDED)
        return self._end(Ending.FINISHED, Provenance.OK)

    def _record_turn(self, answer: Answer) -> None:
        self.reasoning_per_turn.append(answer.reasoning)
        self.finish_reason = answer.finish_reason
        self.token_trace.append(answer.tokens)
        usage = answer.usage or Usage(completion_tokens=len(answer.tokens.completion_ids or ()))
        self.usage += usage
        self._generated_tokens += usage.completion_tokens
        self._unread = answer.problems
        for problem in answer.problems:
            self._record_error(CallRequest(name="", arguments=answer.content), problem, "")

    def _calls_left(self) -> int | None:
        limit = self._limits.tool_calls
        return None if limit is None else limit - self._calls_run

    # --- calls ----------------------------------------------------------------------------------------

    def _start_all(self, requests: tuple[CallRequest, ...]) -> tuple[ToolCall, ...]:
        to_run: list[ToolCall] = []
        for request in requests:
            plan: Plan = plan_call(request, self._tools, self._todo)
            if isinstance(plan, ToolCall):
                plan = self._within_limits(plan, started=len(to_run))
            match plan:
                case ToolCall():
                    self._calls_run += 1
                    to_run.append(plan)
                case LocalAnswer(content):
                    self._transcript.answer(request, content)
                case Refusal(error, told):
                    self._refuse(request, error, told)
                case _:
                    assert_never(plan)
        return tuple(to_run)

    def _within_limits(self, call: ToolCall, *, started: int) -> Plan:
        if started >= self._limits.calls_per_turn:
            error = f"Not run: at most {self._limits.calls_per_turn} calls of one turn are"
            return Refusal(error, f"{error}. Call again in your next turn.")
        if self._calls_left() == 0:
            error = f"Not run: the {self._limits.tool_calls} tool calls of this trajectory are used up"
            return Refusal(error, f"{error}. Conclude without further calls.")
        return call

    def _refuse(self, request: CallRequest, error: str, told: str) -> None:
        note = self._failed(request, told)
        content = error_content(f"{told} {note}".rstrip())
        self._transcript.answer(request, content)
        self._record_error(request, error, content)

    def _call_ended(self, request: CallRequest, result: ToolResult) -> Action:
        lost = result.provenance.is_infrastructure
        content = error_content(NOT_COMPLETED) if lost else self._observation(request, result)
        self._transcript.answer(request, content)
        if is_error(result):
            self._record_error(request, result.error, content)
        if lost:
            self._transcript.close(ABANDONED)
            return self._end(Ending.INFRASTRUCTURE, result.provenance, result.error)
        return Wait() if self._transcript.open_calls else self._next_turn()

    def _observation(self, request: CallRequest, result: ToolResult) -> str:
        max_chars = self._limits.observation_chars
        content = result_to_content(result, max_chars=max_chars)
        note = "" if result.success else self._failed(request, content)
        return result_to_content(result, max_chars=max_chars, note=note) if note else content

    def _failed(self, request: CallRequest, told: str) -> str:
        """Take note of a failure; what to say of it when it is not the first of its kind."""
        failure = (request.name, request.arguments, told)
        self._failures[failure] += 1
        times = self._failures[failure]
        self._most_failures = max(self._most_failures, times)
        if times == 1:
            return ""
        self.repeated_failures += 1
        return f"This call has now failed {times} times in the same way: change it, or go another way."

    def _is_stuck(self) -> bool:
        limit = self._limits.identical_failures
        return limit is not None and self._most_failures >= limit

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
        state = f"turn {self.turns_used}/{self._max_turns}, {len(self._transcript.open_calls)} calls open"
        return f"<Conversation {self._phase.name.lower()}, {state}, {len(self.messages)} messages>"
