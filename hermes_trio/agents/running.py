"""One run of a loop: asks, calls and watches the clock, and tells a conversation what came of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import trio
from attrs import define, evolve, field, frozen

from hermes_trio.agents.answer import Answer, reading_answer
from hermes_trio.agents.events import (
    Action,
    AskModel,
    CallEnded,
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
from hermes_trio.agents.hooks import TurnHook, TurnRecord
from hermes_trio.agents.limits import LoopLimits
from hermes_trio.agents.prompt import user_task_of
from hermes_trio.agents.protocols import ChatModel, ToolExecutor
from hermes_trio.agents.result import Branch
from hermes_trio.agents.step import Conversation
from hermes_trio.agents.sub_agent import SubAgent, result_of
from hermes_trio.agents.telling import RunTelling
from hermes_trio.errors import HermesTrioError, Provenance
from hermes_trio.models.parsers import ToolCallParser
from hermes_trio.telemetry.bus import bus_of
from hermes_trio.telemetry.log import get_logger
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.registry import ToolRegistry

logger = get_logger(__name__)


@frozen(kw_only=True)
class Setup:
    """What all runs of a loop have in common. ``parser`` is ``None`` where text is never a call."""

    model: ChatModel
    executor: ToolExecutor
    tools: ToolRegistry
    sub_agents: Mapping[str, SubAgent]
    hooks: tuple[TurnHook, ...]
    parser: ToolCallParser | None
    limits: LoopLimits
    request: Mapping[str, Any]
    """Of each request to the model, but for the messages and ``max_tokens``."""


@define(eq=False)
class Run:
    """One trajectory's run."""

    setup: Setup
    conversation: Conversation
    trajectory_id: str
    branches: list[Branch] = field(factory=list)
    _action: Action = field(factory=Wait, init=False)
    _model: ChatModel = field(init=False)
    _user_task: str = field(init=False)
    _told: RunTelling = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._told = RunTelling(bus_of(self.setup.executor), self.trajectory_id)
        for_trajectory = getattr(self.setup.model, "for_trajectory", None)
        self._user_task = user_task_of(self.conversation.messages)
        self._model = self.setup.model if for_trajectory is None else for_trajectory(self.trajectory_id)

    async def drive(self) -> Finish:
        """Work until the conversation is over.

        Cancellation: *abandons*.
        """
        limit_s = self.setup.limits.trajectory_s
        with trio.move_on_after(_seconds(limit_s)):
            return await self._drive()
        assert limit_s is not None
        return _finished(self.conversation.step(TimeUp(limit_s)))

    async def _drive(self) -> Finish:
        await trio.lowlevel.checkpoint()
        action = self.conversation.step(Started())
        while isinstance(action, AskModel):
            action = await self._turn(action)
        return _finished(action)

    # --- turns ----------------------------------------------------------------------------------------

    async def _turn(self, ask: AskModel) -> Action:
        """One turn and what the hooks have to say about it: their time is not the turn's."""
        conversation = self.conversation
        for hook in self.setup.hooks:
            added = await hook.before_turn(conversation.turns_used + 1, conversation.messages)
            conversation.add_messages(added)
        messages, errors, began = (
            len(conversation.messages),
            len(conversation.tool_errors),
            trio.current_time(),
        )
        with self._told.turn(conversation, limit_s=self.setup.limits.turn_s):
            action = await self._limited_turn(ask)
        record = TurnRecord(
            turn=conversation.turns_used,
            messages=tuple(conversation.messages[messages:]),
            tool_errors=tuple(conversation.tool_errors[errors:]),
            duration_s=trio.current_time() - began,
            finished=isinstance(action, Finish),
        )
        stops = [await hook.after_turn(record) for hook in self.setup.hooks]
        return conversation.step(Stopped()) if any(stops) and isinstance(action, AskModel) else action

    async def _limited_turn(self, ask: AskModel) -> Action:
        limit_s = self.setup.limits.turn_s
        with trio.move_on_after(_seconds(limit_s)):
            action = self.conversation.step(await self._ask(ask))
            return await self._run_calls(action.calls) if isinstance(action, RunCalls) else action
        assert limit_s is not None
        return self.conversation.step(TurnTimeUp(limit_s))

    async def _ask(self, ask: AskModel) -> ModelAnswered | ModelFailed:
        with self._told.model_call(self.conversation) as told:
            told.answered = await self._ask_model(ask)
        return told.answered

    async def _ask_model(self, ask: AskModel) -> ModelAnswered | ModelFailed:
        await trio.lowlevel.checkpoint()
        try:
            response = await self._model.complete(
                self.conversation.messages, max_tokens=ask.max_tokens, **self.setup.request
            )
            answer = await _read(response, self.setup.parser)
        except HermesTrioError as error:
            return ModelFailed(str(error))
        except Exception as error:
            # The boundary to whatever was passed as a model: its crash ends this trajectory only.
            logger.exception("the model failed")
            return ModelFailed(f"{type(error).__name__}: {error}")
        return ModelFailed("the model answered nothing") if answer is None else ModelAnswered(answer)

    # --- calls ----------------------------------------------------------------------------------------

    async def _run_calls(self, calls: Sequence[ToolCall]) -> Action:
        self._action = Wait()
        limiter = trio.CapacityLimiter(self.setup.limits.parallel_calls)
        async with trio.open_nursery() as nursery:
            for lane in self._lanes(calls):
                nursery.start_soon(self._run_lane, lane, limiter, nursery.cancel_scope)
        return self._action

    def _lanes(self, calls: Sequence[ToolCall]) -> list[list[ToolCall]]:
        """What a slot runs keeps the model's order, one after another; everything else runs at once."""
        in_slot, alone = list[ToolCall](), list[list[ToolCall]]()
        for call in calls:
            tool = self.setup.tools.tool(call.name)
            if tool is not None and tool.runs_in_slot:
                in_slot.append(call)
            else:
                alone.append([call])
        return [in_slot, *alone] if in_slot else alone

    async def _run_lane(
        self, lane: Sequence[ToolCall], limiter: trio.CapacityLimiter, turn: trio.CancelScope
    ) -> None:
        async with limiter:
            for call in lane:
                event = await self._call(call)
                if isinstance(self._action, Finish):  # another lane ended it just before
                    return
                self._action = self.conversation.step(event)
                if isinstance(self._action, Finish):
                    turn.cancel()

    async def _call(self, call: ToolCall) -> CallEnded:
        agent = self.setup.sub_agents.get(call.name)
        if agent is not None:
            return await self._delegate(agent, call)
        await trio.lowlevel.checkpoint()
        try:
            result = await self.setup.executor.execute(
                self.trajectory_id,
                evolve(call, user_task=self._user_task),
                limit_s=self.setup.limits.call_s,
            )
        except Exception as error:
            # An executor answers with results; one that raises is broken, and the policy is not to blame.
            logger.exception("the executor failed", tool=call.name)
            told = f"Tool execution failed: {type(error).__name__}: {error}"
            result = ToolResult(False, error=told, provenance=Provenance.INTERNAL_ERROR)
        return CallEnded(call.uniq_id, result)

    async def _delegate(self, agent: SubAgent, call: ToolCall) -> CallEnded:
        turn, messages = self.conversation.turns_used, agent.messages_for(call)
        branch = Branch(call_id=call.uniq_id, tool_name=call.name, turn=turn, messages=messages)
        self.branches.append(branch)
        ended = await agent.loop.run(messages, trajectory_id=self.trajectory_id)
        branch.result = ended
        tokens = ended.usage.completion_tokens
        return CallEnded(call.uniq_id, result_of(call, ended), generated_tokens=tokens)


async def _read(response: Any, parser: ToolCallParser | None) -> Answer | None:
    """Read an answer; a long one lets other trajectories have their turn meanwhile."""
    reading = reading_answer(response, parser=parser)
    await trio.lowlevel.checkpoint()
    while True:
        try:
            next(reading)
        except StopIteration as stop:
            answer: Answer | None = stop.value
            return answer
        await trio.lowlevel.checkpoint()


def _seconds(limit_s: float | None) -> float:
    return math.inf if limit_s is None else limit_s


def _finished(action: Action) -> Finish:
    assert isinstance(action, Finish)
    return action
