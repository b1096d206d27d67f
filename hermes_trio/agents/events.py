"""What can happen to a conversation, and what is to be done next. PURE."""

from __future__ import annotations

from attrs import frozen

from hermes_trio.agents.answer import Answer
from hermes_trio.agents.result import Ending
from hermes_trio.errors import Provenance
from hermes_trio.tools.calls import ToolCall, ToolResult


@frozen
class Started:
    """Begin."""


@frozen
class ModelAnswered:
    """The model took its turn."""

    answer: Answer


@frozen
class ModelFailed:
    """The model did not take its turn."""

    error: str
    provenance: Provenance = Provenance.MODEL_ERROR


@frozen
class CallEnded:
    """One of the calls to run has its result. ``generated_tokens``: what a sub-agent's model generated."""

    call_id: str
    result: ToolResult
    generated_tokens: int = 0


@frozen
class TurnTimeUp:
    """The turn's time is over: the model is too slow, or the calls that are open have been ended."""

    limit_s: float


@frozen
class TimeUp:
    """The trajectory's time is over, and whatever was under way has been ended."""

    limit_s: float


@frozen
class Stopped:
    """Whoever watches the loop wants no further turn."""


Event = Started | ModelAnswered | ModelFailed | CallEnded | TurnTimeUp | TimeUp | Stopped


@frozen
class AskModel:
    """Send the transcript to the model, for at most so many tokens."""

    max_tokens: int | None = None


@frozen
class RunCalls:
    """Run these, in this order or at once."""

    calls: tuple[ToolCall, ...]


@frozen
class Wait:
    """Nothing to do until another call has ended."""


@frozen
class Finish:
    """It is over."""

    ending: Ending
    provenance: Provenance = Provenance.OK
    error: str = ""


Action = AskModel | RunCalls | Wait | Finish
