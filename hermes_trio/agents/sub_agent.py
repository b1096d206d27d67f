"""A sub-agent: a tool whose answer is what another loop came to.

It works in the slot of its parent's trajectory and inside its parent's limits. Its conversation is a branch
of the parent's transcript (:class:`hermes_trio.agents.result.Branch`); what it came to is all that the
parent's model reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Never

from attrs import frozen

from hermes_trio.agents.result import AgentResult, Ending
from hermes_trio.errors import Provenance
from hermes_trio.models.completion import text_of
from hermes_trio.tools.calls import ToolCall, ToolResult
from hermes_trio.tools.schema import ToolSchema
from hermes_trio.tools.tool import Tool, ToolContext

if TYPE_CHECKING:
    from hermes_trio.agents.loop import AgentLoop


@frozen(kw_only=True)
class SubAgent:
    """A loop that another loop's model may call.

    Args:
        name: of the tool.
        description: for the parent's model: what to hand on, and what comes back.
        loop: does the work, with a model, tools and limits of its own.
        system_prompt: begins its conversation; ``None``: there is none.
    """

    name: str
    description: str
    loop: AgentLoop
    system_prompt: str | None = None

    def tool(self) -> Tool:
        """How the parent offers it. The loop runs it, no executor does."""
        task = {"type": "string", "description": "What is to be done, with everything one has to know."}
        schema = ToolSchema(self.name, self.description, parameters={"task": task}, required=("task",))
        return Tool(schema, handler=_refuse)

    def messages_for(self, call: ToolCall) -> list[dict[str, Any]]:
        """How its conversation begins."""
        user = {"role": "user", "content": call.arguments["task"]}
        return (
            [user]
            if self.system_prompt is None
            else [{"role": "system", "content": self.system_prompt}, user]
        )


def result_of(call: ToolCall, ended: AgentResult) -> ToolResult:
    """What the parent is told. A failure of the infrastructure stays one."""
    said = _last_words(ended.messages)
    if ended.provenance.is_infrastructure:
        return ToolResult(False, error=ended.error, uniq_id=call.uniq_id, provenance=ended.provenance)
    if ended.ending in (Ending.FINISHED, Ending.STOPPED):
        return ToolResult(True, said, uniq_id=call.uniq_id)
    error = f"The sub-agent did not finish: {ended.error or ended.ending.value}"
    return ToolResult(False, said, error, uniq_id=call.uniq_id, provenance=Provenance.TOOL_ERROR)


def _last_words(messages: Sequence[Mapping[str, Any]]) -> str:
    said = (text_of(each.get("content")) for each in reversed(messages) if each.get("role") == "assistant")
    return next(said, "")


def _refuse(call: ToolCall, context: ToolContext) -> Never:
    raise AssertionError(f"{call.name} was sent to an executor")
