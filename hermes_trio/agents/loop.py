"""The agent loop: the I/O around :class:`hermes_trio.agents.step.Conversation`, and no decisions."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, assert_never

import trio

from hermes_trio.agents.answer import read_answer
from hermes_trio.agents.result import AgentResult, Ending
from hermes_trio.agents.step import (
    Action,
    AskModel,
    CallEnded,
    Conversation,
    Event,
    Finish,
    ModelAnswered,
    ModelFailed,
    RunCalls,
    Started,
    Wait,
)
from hermes_trio.errors import HermesTrioError, Provenance
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import ToolRegistry, default_registry
from hermes_trio.tools.schema import ToolSchema

_log = logging.getLogger(__name__)


class ChatModel(Protocol):
    """What the loop needs of a model; :class:`hermes_trio.models.chat.ChatClient` is one.

    The answer may be ours, an SDK's object or plain JSON: see :func:`hermes_trio.agents.answer.read_answer`.
    A model that also has ``get_state()`` is asked for it at the end.
    """

    async def complete(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None,
        temperature: float | None,
        max_tokens: int | None,
        extra_body: Mapping[str, Any] | None,
    ) -> Any:
        """One turn.

        Cancellation: *abandons*.
        """
        ...


class ToolExecutor(Protocol):
    """What the loop needs of an executor. Whatever becomes of a call is a result, not an exception."""

    async def execute(
        self, trajectory_id: str, call: ToolCall, *, limit_s: float | None = None
    ) -> ToolResult:
        """Run one call.

        Cancellation: *abandons*: the call's processes are gone when it leaves.
        """
        ...


class AgentLoop:
    """Lets a model work with tools until it is done or may not go on.

    One loop serves any number of trajectories at once: what belongs to one of them, the todo list
    included, lives as long as its :meth:`run`.

    Args:
        model: see :class:`ChatModel`.
        tools: what the model may call; ``None``: the default toolset; empty: nothing.
        executor: see :class:`ToolExecutor`.
        max_turns: model calls at most.
        temperature: of sampling; ``None``: the server's default.
        max_tokens: most tokens of one turn; ``None``: the server's default.
        extra_body: further members of each request's body.
        call_limit_s: limit of each call in seconds, ``None``: the executor's default.
    """

    def __init__(
        self,
        model: ChatModel,
        tools: ToolRegistry | Iterable[ToolSchema] | None,
        executor: ToolExecutor,
        *,
        max_turns: int = 30,
        temperature: float | None = 1.0,
        max_tokens: int | None = None,
        extra_body: Mapping[str, Any] | None = None,
        call_limit_s: float | None = None,
    ) -> None:
        self.tools = _registry(tools)
        self._model = model
        self._executor = executor
        self._max_turns = max_turns
        self._call_limit_s = call_limit_s
        self._options: dict[str, Any] = {
            "tools": self.tools.openai_tools() or None,
            "temperature": temperature,
            "max_tokens": max_tokens,
            "extra_body": extra_body,
        }

    async def run(self, messages: list[dict[str, Any]], *, trajectory_id: str) -> AgentResult:
        """Work on one conversation to its end.

        What the model or the sandbox does wrong is in the result; nothing but a bug raises.

        Cancellation: *abandons*: the model request or the tool call under way is given up, and every tool
        call in ``messages`` is answered, the unfinished ones with a sentence that says so.

        Args:
            messages: the conversation so far, in OpenAI's format; grown in place.
            trajectory_id: whose slot the calls run in.
        """
        conversation = Conversation(messages, self.tools, max_turns=self._max_turns)
        try:
            finish = await self._drive(conversation, trajectory_id)
        finally:
            conversation.abandon()
        return self._result(conversation, finish)

    async def _drive(self, conversation: Conversation, trajectory_id: str) -> Finish:
        await trio.lowlevel.checkpoint()
        waiting: deque[ToolCall] = deque()
        action: Action = conversation.step(Started())
        while not isinstance(action, Finish):
            match action:
                case AskModel():
                    event = await self._ask(conversation.messages)
                case RunCalls(calls):
                    waiting.extend(calls)
                    event = await self._call(trajectory_id, waiting.popleft())
                case Wait():
                    event = await self._call(trajectory_id, waiting.popleft())
                case _:
                    assert_never(action)
            action = conversation.step(event)
        return action

    async def _ask(self, messages: list[dict[str, Any]]) -> Event:
        await trio.lowlevel.checkpoint()
        try:
            response = await self._model.complete(messages, **self._options)
            answer = read_answer(response, parse_text=len(self.tools) > 0)
        except HermesTrioError as error:
            return ModelFailed(str(error))
        except Exception as error:
            # The boundary to whatever was passed as a model: its crash ends this trajectory only.
            _log.exception("the model failed")
            return ModelFailed(f"{type(error).__name__}: {error}")
        return ModelFailed("the model answered nothing") if answer is None else ModelAnswered(answer)

    async def _call(self, trajectory_id: str, call: ToolCall) -> Event:
        await trio.lowlevel.checkpoint()
        try:
            result = await self._executor.execute(trajectory_id, call, limit_s=self._call_limit_s)
        except Exception as error:
            # An executor answers with results; one that raises is broken, and the policy is not to blame.
            _log.exception("the executor failed on '%s'", call.name)
            told = f"Tool execution failed: {type(error).__name__}: {error}"
            result = ToolResult(False, error=told, provenance=Provenance.INTERNAL_ERROR)
        return CallEnded(call.uniq_id, result)

    def _result(self, conversation: Conversation, finish: Finish) -> AgentResult:
        return AgentResult(
            messages=conversation.messages,
            turns_used=conversation.turns_used,
            finished_naturally=finish.ending is Ending.FINISHED,
            reasoning_per_turn=conversation.reasoning_per_turn,
            tool_errors=conversation.tool_errors,
            managed_state=self._managed_state(),
            provenance=finish.provenance,
            ending=finish.ending,
            error=finish.error,
            finish_reason=conversation.finish_reason,
            usage=conversation.usage,
        )

    def _managed_state(self) -> Any | None:
        get_state = getattr(self._model, "get_state", None)
        return None if get_state is None else get_state()

    def __repr__(self) -> str:
        return f"<AgentLoop {self._model!r}, {len(self.tools)} tools, at most {self._max_turns} turns>"


def _registry(tools: ToolRegistry | Iterable[ToolSchema] | None) -> ToolRegistry:
    if tools is None:
        return default_registry()
    return tools if isinstance(tools, ToolRegistry) else ToolRegistry(tools)
