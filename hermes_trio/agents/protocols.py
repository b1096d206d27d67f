"""What a loop needs of a model and of an executor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from hermes_trio.tools.calls import ToolCall, ToolResult


class ChatModel(Protocol):
    """:class:`hermes_trio.models.chat.ChatClient` is one.

    The answer may be ours, an SDK's object or plain JSON: see :func:`hermes_trio.agents.answer.read_answer`.
    A model that also has ``get_state()`` is asked for it at the end. One with ``for_trajectory(id)`` is asked
    for its view of the trajectory, and that is called: servers keep the prefixes of a trajectory cached.
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
    """:class:`hermes_trio.executor.executor.Executor` is one. Whatever becomes of a call is a result.

    One that also has a ``registry`` is asked at once whether it knows the tools that are offered.
    """

    async def execute(
        self, trajectory_id: str, call: ToolCall, *, limit_s: float | None = None
    ) -> ToolResult:
        """Run one call. Several may be under way.

        Cancellation: *abandons*: the call's processes are gone when it leaves.
        """
        ...
