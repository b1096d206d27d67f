"""A chat model and an executor in memory, for tests of loops, hooks and tools under the virtual clock."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import trio
from attrs import define, field

from hermes_trio.models.completion import ChatCompletion, ChatMessage, Usage
from hermes_trio.tools.calls import ToolCall, ToolResult


def tool_call(name: str = "bash", arguments: str = '{"command": "ls"}', call_id: str = "c") -> dict[str, Any]:
    """A call as a server sends it; ``arguments`` is text that may be no JSON."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def says(content: str = "", *calls: dict[str, Any], reasoning: str | None = None) -> ChatCompletion:
    """One answer, of three tokens."""
    usage = Usage(prompt_tokens=2, completion_tokens=1, total_tokens=3)
    message = ChatMessage(content=content, tool_calls=calls, reasoning=reasoning)
    finish_reason = "tool_calls" if calls else "stop"
    return ChatCompletion(message=message, usage=usage, finish_reason=finish_reason)


@define(eq=False)
class ListedChat:
    """A :class:`hermes_trio.agents.protocols.ChatModel` that answers from a list; the last one repeats.

    Args:
        answers: an exception among them is raised.
        delay_s: how long each takes.

    Attributes:
        requests: what was asked, as it was then.
    """

    answers: list[Any] = field(converter=list)
    delay_s: float = 0.0
    requests: list[dict[str, Any]] = field(factory=list, init=False)

    async def complete(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        """The next answer.

        Cancellation: *abandons*: the answer is used up all the same.
        """
        self.requests.append({"messages": copy.deepcopy(list(messages)), **options})
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        await trio.sleep(self.delay_s)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _ok(_call: ToolCall) -> ToolResult:
    return ToolResult(True, "out", metadata={"exit_code": 0})


@define(eq=False)
class FunctionExecutor:
    """A :class:`hermes_trio.agents.protocols.ToolExecutor` that answers by a function.

    Args:
        answer: makes the result; an exception that it returns is raised.
        delay_s: how long a call takes: a number, or a function of the call.

    Attributes:
        calls: what was asked, as ``(trajectory id, call, limit in seconds)``.
        running: calls under way now.
        most_running: the most that ever were.
    """

    answer: Callable[[ToolCall], ToolResult | Exception] = _ok
    delay_s: float | Callable[[ToolCall], float] = 0.0
    calls: list[tuple[str, ToolCall, float | None]] = field(factory=list, init=False)
    running: int = field(default=0, init=False)
    most_running: int = field(default=0, init=False)

    async def execute(
        self, trajectory_id: str, call: ToolCall, *, limit_s: float | None = None
    ) -> ToolResult:
        """One result.

        Cancellation: *abandons*.
        """
        self.calls.append((trajectory_id, call, limit_s))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await trio.sleep(self.delay_s(call) if callable(self.delay_s) else self.delay_s)
        finally:
            self.running -= 1
        result = self.answer(call)
        if isinstance(result, Exception):
            raise result
        return result


def is_whole(messages: Iterable[Mapping[str, Any]]) -> bool:
    """Whether every tool call of a transcript is answered once, behind its turn, in order."""
    open_ids: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            if not open_ids or open_ids.pop(0) != message["tool_call_id"]:
                return False
        elif open_ids:
            return False
        open_ids += [call["id"] for call in message.get("tool_calls") or ()]
    return not open_ids
