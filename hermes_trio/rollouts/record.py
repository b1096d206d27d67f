"""What one trajectory leaves: who or what ended it, what it is worth, and what happened on the way. PURE.

The rule that everything here serves: an infrastructure failure is never a reward of 0. A trajectory has a
reward when the policy's work was graded, and only then; otherwise ``reward`` is ``None`` and ``masked`` is
true, and the trainer leaves it out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import orjson
from attrs import asdict, field, frozen

from hermes_trio.agents.result import ToolError
from hermes_trio.errors import (
    BusyError,
    HermesTrioError,
    LinkLostError,
    LostError,
    Provenance,
    TooSlowError,
    UnavailableError,
)
from hermes_trio.models.completion import Usage
from hermes_trio.rollouts.trace import BranchRecord, TokenRecord


class Stage(StrEnum):
    """Where in its life a trajectory ended."""

    SETUP = "setup"
    AGENT = "agent"
    VERIFIER = "verifier"


class Outcome(StrEnum):
    """How a trajectory ended, in the words of the summary."""

    SOLVED = "solved"
    UNSOLVED = "unsolved"
    """The policy ended by itself and the verifier said no."""
    LIMIT_EXCEEDED = "limit_exceeded"
    """Turns or time ran out, and what was done by then does not satisfy the verifier."""
    TASK_ERROR = "task_error"
    """The task's own set-up or verifier could not be run. Masked."""
    UNAVAILABLE = "unavailable"
    SANDBOX_LOST = "sandbox_lost"
    LINK_LOST = "link_lost"
    MODEL_ERROR = "model_error"
    INTERNAL_ERROR = "internal_error"


@frozen(kw_only=True)
class Ending:
    """Why a trajectory ended, before anybody asks what it is worth.

    Args:
        stage: where.
        provenance: who. ``ok`` and ``limit_exceeded`` at stage ``verifier``: the policy's work was graded.
        solved: the verifier's verdict; ``None`` when there is none.
        error: one line; empty when nothing failed.
    """

    stage: Stage
    provenance: Provenance
    solved: bool | None = None
    error: str = ""

    @property
    def outcome(self) -> Outcome:
        """The one word for it."""
        if self.provenance.is_infrastructure:
            return Outcome(self.provenance.value)
        if self.solved is None:
            return Outcome.TASK_ERROR
        if self.solved:
            return Outcome.SOLVED
        return Outcome.LIMIT_EXCEEDED if self.provenance is Provenance.LIMIT_EXCEEDED else Outcome.UNSOLVED

    @property
    def reward(self) -> float | None:
        """1 or 0 for graded work; ``None``, never 0, for everything else."""
        if self.solved is None or self.provenance.is_infrastructure:
            return None
        return 1.0 if self.solved else 0.0


@frozen(kw_only=True)
class CallTiming:
    """One tool call of the agent.

    Args:
        tool: its name.
        provenance: how it ended.
        latency_s: from the loop's asking to its having the result, queues included.
    """

    tool: str
    provenance: Provenance
    latency_s: float


@frozen(kw_only=True)
class TrajectoryRecord:
    """One line of ``trajectories.jsonl``. ``docs/reference/cli.md`` lists its members.

    Args:
        task_id: the task's.
        trajectory_id: unique in the run; whose slot it was.
        group: the trajectories of one task share it.
        index: of the trajectory in its group, from 0.
        ending: see :class:`Ending`; written as ``outcome``, ``reward``, ``masked``, ``solved`` and so on.
        messages: the conversation, in OpenAI's format; every tool call in it is answered.
        turns: model calls made.
        finished_naturally: the model stopped calling tools by itself.
        calls: of the agent only, not set-up and verifier.
        tool_errors: see :class:`hermes_trio.agents.result.ToolError`.
        reasoning: one member per answered turn.
        usage: ``None``: the server told nothing.
        verifier_output: its last words, for whoever asks why it said no.
        tokens: as sampled, in rows for a trainer; sub-agents' are in their branches.
        branches: sub-agents' conversations, in the order in which they began.
        isolation: level of the slot: ``ns``, ``uid``, ``none``; empty when no command ever ran.
        duration_s: from having a slot to the verdict.
    """

    task_id: str
    trajectory_id: str
    group: str
    index: int
    ending: Ending
    messages: Sequence[Mapping[str, Any]] = ()
    turns: int = 0
    finished_naturally: bool = False
    calls: Sequence[CallTiming] = ()
    tool_errors: Sequence[ToolError] = ()
    reasoning: Sequence[str | None] = ()
    usage: Usage | None = None
    verifier_output: str = ""
    tokens: TokenRecord = field(factory=TokenRecord)
    branches: Sequence[BranchRecord] = ()
    isolation: str = ""
    duration_s: float = field(default=0.0)

    def to_mapping(self) -> dict[str, Any]:
        """JSON values, the short and telling ones first."""
        ending = self.ending
        return {
            "task": self.task_id,
            "trajectory": self.trajectory_id,
            "group": self.group,
            "index": self.index,
            "outcome": ending.outcome.value,
            "solved": ending.solved,
            "reward": ending.reward,
            "masked": ending.reward is None,
            "provenance": ending.provenance.value,
            "stage": ending.stage.value,
            "error": ending.error,
            "turns": self.turns,
            "finished_naturally": self.finished_naturally,
            "tokens": None if self.usage is None else asdict(self.usage),
            "isolation": self.isolation,
            "duration_s": round(self.duration_s, 6),
            "tool_calls": [_timing(call) for call in self.calls],
            "tool_errors": [asdict(error) for error in self.tool_errors],
            "reasoning": list(self.reasoning),
            "verifier_output": self.verifier_output,
            **self.tokens.to_mapping(),
            "branches": [branch.to_mapping() for branch in self.branches],
            "messages": list(self.messages),
        }

    def to_line(self) -> bytes:
        """One line of JSON with its line feed."""
        document = self.to_mapping()
        try:
            return orjson.dumps(document) + b"\n"
        except TypeError:
            # A model may say half a surrogate pair or a number of a hundred digits; orjson refuses both.
            return json.dumps(document).encode() + b"\n"


def _timing(call: CallTiming) -> dict[str, Any]:
    return {
        "tool": call.tool,
        "provenance": call.provenance.value,
        "latency_s": round(call.latency_s, 6),
    }


def provenance_of(error: Exception) -> Provenance:
    """Who is to blame for an exception out of the runtime: never the policy."""
    match error:
        case LinkLostError():
            return Provenance.LINK_LOST
        case LostError():
            return Provenance.SANDBOX_LOST
        case UnavailableError() | BusyError() | TooSlowError():
            return Provenance.UNAVAILABLE
        case HermesTrioError() | _:
            return Provenance.INTERNAL_ERROR
