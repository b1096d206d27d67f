"""Watching a loop turn by turn, and having a say in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import trio
from attrs import frozen

from hermes_trio.agents.result import ToolError


@frozen(kw_only=True)
class TurnRecord:
    """One turn that is over.

    Args:
        turn: its number, from 1.
        messages: what it added to the transcript: the model's message, then the answers to its calls.
        tool_errors: those of this turn.
        duration_s: from asking the model to the last answer.
        finished: it was the last one, whatever a hook says.
    """

    turn: int
    messages: tuple[Mapping[str, Any], ...]
    tool_errors: tuple[ToolError, ...]
    duration_s: float
    finished: bool


class TurnHook:
    """Override what you need. What a hook raises ends the run and leaves it; the transcript is whole."""

    async def before_turn(
        self, turn: int, messages: Sequence[Mapping[str, Any]]
    ) -> Sequence[Mapping[str, Any]]:
        """Called before the model is asked.

        Cancellation: *atomic*.

        Args:
            turn: its number, from 1.
            messages: the transcript so far.

        Returns:
            Messages to add first, of role ``user``, ``system`` or ``developer``.
        """
        await trio.lowlevel.checkpoint()
        return ()

    async def after_turn(self, turn: TurnRecord) -> bool:
        """Called when a turn's calls are all answered.

        Cancellation: *atomic*.

        Returns:
            Whether the loop is to stop here.
        """
        await trio.lowlevel.checkpoint()
        return False
