"""How an agent loop ended, as data. PURE."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from attrs import define, field, frozen

from hermes_trio.errors import Provenance
from hermes_trio.models.completion import Usage
from hermes_trio.models.tokens import TokenTrace

MAX_ARGUMENTS_CHARS = 200
MAX_RESULT_CHARS = 500
"""Of arguments and of results, in records of errors: enough to recognise a call, small enough to keep."""


class Ending(StrEnum):
    """Why the loop stopped."""

    FINISHED = "finished"
    """The model answered without calling a tool."""
    TURN_LIMIT = "turn_limit"
    TIME_LIMIT = "time_limit"
    TOKEN_LIMIT = "token_limit"  # noqa: S105 - a limit, no password
    CALL_LIMIT = "call_limit"
    REPEATED_FAILURE = "repeated_failure"
    """The same call failed in the same way as often as it may."""
    STOPPED = "stopped"
    """A hook ended it."""
    MODEL_FAILED = "model_failed"
    """The model server failed, or answered nothing. Provenance ``model_error``."""
    INFRASTRUCTURE = "infrastructure"
    """A call's slot, daemon or link failed. Provenance says which."""


@frozen(kw_only=True)
class ToolError:
    """A call that went wrong in a way that is worth counting; see :func:`hermes_trio.agents.plan.is_error`.

    Args:
        turn: the turn it was made in, from 1.
        tool_name: as the model wrote it.
        arguments: as the model wrote them, cut to 200 characters.
        error: one line.
        tool_result: what stands in the transcript as its answer, cut to 500 characters.
    """

    turn: int
    tool_name: str
    arguments: str
    error: str
    tool_result: str


@define(eq=False)
class Branch:
    """A sub-agent's conversation, which hangs on the call that began it.

    Args:
        call_id: of the parent's call.
        tool_name: the sub-agent's.
        turn: the parent's turn, from 1.
        messages: grown while it runs; every tool call in it is answered.
        result: how it ended; ``None``: it was cut off with its parent.
    """

    call_id: str
    tool_name: str
    turn: int
    messages: list[dict[str, Any]]
    result: AgentResult | None = None


@frozen(kw_only=True)
class AgentResult:
    """What a loop leaves.

    Args:
        messages: the caller's own list, grown in place; every tool call in it is answered.
        turns_used: model calls made, a failed one included.
        finished_naturally: the model stopped calling tools by itself.
        reasoning_per_turn: one member for each answered turn, ``None`` where there was no reasoning.
        tool_errors: in the order of their occurrence.
        managed_state: what the model's ``get_state()`` returned, for models that have one.
        provenance: ``ok``, ``limit_exceeded`` at one of its limits, else the infrastructure failure that
            ended the loop; mask the trajectory where ``provenance.is_infrastructure``.
        token_trace: token ids as sampled, call by call; ``text_only`` where a server did not tell them. Those
            of sub-agents are in their own results.
        ending: why the loop stopped.
        error: one line about it; empty unless something failed.
        finish_reason: of the last answer, as the server told it.
        usage: tokens of all turns together, as far as the server told them; sub-agents' are in their own.
        branches: sub-agents' conversations, in the order in which they began.
        repeated_failures: calls that failed just as an earlier one had.
    """

    messages: list[dict[str, Any]]
    turns_used: int = 0
    finished_naturally: bool = False
    reasoning_per_turn: list[str | None] = field(factory=list)
    tool_errors: list[ToolError] = field(factory=list)
    managed_state: Any | None = None
    provenance: Provenance = Provenance.OK
    token_trace: TokenTrace = field(factory=TokenTrace)
    ending: Ending = Ending.FINISHED
    error: str = ""
    finish_reason: str | None = None
    usage: Usage = field(factory=Usage)
    branches: tuple[Branch, ...] = ()
    repeated_failures: int = 0
