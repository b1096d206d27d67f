"""The agent loop: a model, tools and an executor put together, for any number of trajectories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hermes_trio.agents.events import Finish
from hermes_trio.agents.hooks import TurnHook
from hermes_trio.agents.limits import LoopLimits
from hermes_trio.agents.protocols import ChatModel as ChatModel
from hermes_trio.agents.protocols import ToolExecutor as ToolExecutor
from hermes_trio.agents.result import AgentResult, Ending
from hermes_trio.agents.running import Run, Setup
from hermes_trio.agents.step import Conversation
from hermes_trio.agents.sub_agent import SubAgent
from hermes_trio.errors import InvalidInputError
from hermes_trio.models.parsers import ToolCallParser, get_parser
from hermes_trio.models.tokens import TokenTrace, calls_of_state
from hermes_trio.tools.registry import ToolRegistry, default_registry
from hermes_trio.tools.schema import ToolSchema
from hermes_trio.tools.tool import Tool


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
        limits: of time, tokens, calls and output; ``None``: the defaults.
        parser: dialect of calls in raw text, for servers that do not parse them themselves; a name of
            :func:`hermes_trio.models.parsers.available_parsers`. ``None``: text is never a call.
        hooks: see :class:`hermes_trio.agents.hooks.TurnHook`; called in this order.
        sub_agents: loops that the model may call, offered after the tools.

    Raises:
        InvalidInputError: a tool's name occurs twice, the executor does not know one that has a handler, or
            there is no such parser.
    """

    def __init__(
        self,
        model: ChatModel,
        tools: ToolRegistry | Iterable[Tool | ToolSchema] | None,
        executor: ToolExecutor,
        *,
        max_turns: int = 30,
        temperature: float | None = 1.0,
        max_tokens: int | None = None,
        extra_body: Mapping[str, Any] | None = None,
        limits: LoopLimits | None = None,
        parser: str | None = "hermes",
        hooks: Sequence[TurnHook] = (),
        sub_agents: Sequence[SubAgent] = (),
    ) -> None:
        offered = _registry(tools)
        _check_known(offered, executor)
        self.tools = ToolRegistry([*offered, *(agent.tool() for agent in sub_agents)])
        self._max_turns = max_turns
        self._max_tokens = max_tokens
        self._setup = Setup(
            model=model,
            executor=executor,
            tools=self.tools,
            sub_agents={agent.name: agent for agent in sub_agents},
            hooks=tuple(hooks),
            parser=_parser(parser, self.tools),
            limits=limits or LoopLimits(),
            request={
                "tools": self.tools.openai_tools() or None,
                "temperature": temperature,
                "extra_body": extra_body,
            },
        )

    async def run(self, messages: list[dict[str, Any]], *, trajectory_id: str) -> AgentResult:
        """Work on one conversation to its end.

        What the model, the sandbox or a tool does wrong is in the result. What raises is a bug, or a hook.

        Cancellation: *abandons*: the model request or the tool calls under way are given up, and every tool
        call in ``messages`` is answered, the unfinished ones with a sentence that says so.

        Args:
            messages: the conversation so far, in OpenAI's format; grown in place.
            trajectory_id: whose slot the calls run in.
        """
        conversation = Conversation(
            messages,
            self.tools,
            max_turns=self._max_turns,
            max_tokens=self._max_tokens,
            limits=self._setup.limits,
        )
        run = Run(self._setup, conversation, trajectory_id)
        try:
            finish = await run.drive()
        finally:
            conversation.abandon()
        return self._result(run, finish)

    def _result(self, run: Run, finish: Finish) -> AgentResult:
        conversation = run.conversation
        managed_state = self._managed_state()
        return AgentResult(
            messages=conversation.messages,
            turns_used=conversation.turns_used,
            finished_naturally=finish.ending is Ending.FINISHED,
            reasoning_per_turn=conversation.reasoning_per_turn,
            tool_errors=conversation.tool_errors,
            managed_state=managed_state,
            token_trace=_trace(conversation.token_trace, managed_state),
            provenance=finish.provenance,
            ending=finish.ending,
            error=finish.error,
            finish_reason=conversation.finish_reason,
            usage=conversation.usage,
            branches=tuple(run.branches),
            repeated_failures=conversation.repeated_failures,
        )

    def _managed_state(self) -> Any | None:
        get_state = getattr(self._setup.model, "get_state", None)
        return None if get_state is None else get_state()

    def __repr__(self) -> str:
        model = self._setup.model
        return f"<AgentLoop {model!r}, {len(self.tools)} tools, at most {self._max_turns} turns>"


def _registry(tools: ToolRegistry | Iterable[Tool | ToolSchema] | None) -> ToolRegistry:
    if tools is None:
        return default_registry()
    return tools if isinstance(tools, ToolRegistry) else ToolRegistry(tools)


def _parser(name: str | None, tools: ToolRegistry) -> ToolCallParser | None:
    """Without tools there are no calls, whatever the text looks like."""
    parser = None if name is None else get_parser(name, tools=tools.openai_tools())
    return parser if len(tools) else None


def _trace(told: TokenTrace, managed_state: Any | None) -> TokenTrace:
    """Answers that lack ids may come from a server that keeps them and tells them at the end."""
    kept = calls_of_state(managed_state) if told.text_only and managed_state is not None else ()
    if not kept:
        return told
    trace = TokenTrace()
    for call in kept:
        trace.append(call)
    return trace


def _check_known(offered: ToolRegistry, executor: ToolExecutor) -> None:
    """A tool with a handler is run by the executor's registry, or by nobody."""
    known = getattr(executor, "registry", None)
    for tool in offered:
        if known is not None and tool.handler is not None and tool.name not in known:
            told = f"tool '{tool.name}' is offered, but the executor does not have it: open it with tools=..."
            raise InvalidInputError(told, field="tools")
