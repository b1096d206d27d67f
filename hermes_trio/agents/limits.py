"""How much one trajectory may use. PURE."""

from __future__ import annotations

from attrs import asdict, frozen

from hermes_trio.errors import InvalidInputError


@frozen(kw_only=True)
class LoopLimits:
    """The limits of a loop besides its turns. ``None`` is no limit.

    Args:
        trajectory_s: seconds for the whole run.
        turn_s: seconds for one turn: the model's answer and the calls in it.
        call_s: seconds for one call, queues not included; ``None``: the executor's default.
        generated_tokens: tokens that the model may generate in all turns together, as far as the server
            counts them. Each request asks for no more than what is left.
        tool_calls: calls that may be run in all. Those above it are answered and not run; a turn that
            begins to call when nothing is left ends the loop.
        calls_per_turn: calls of one turn that are run; those above it are answered and not run.
        parallel_calls: calls of one turn that run at once.
        observation_chars: what the model is shown of one output; above it the middle is left out.
        identical_failures: times that one call may fail in the same way before the loop ends.

    Raises:
        InvalidInputError: a limit is not positive.
    """

    trajectory_s: float | None = None
    turn_s: float | None = None
    call_s: float | None = None
    generated_tokens: int | None = None
    tool_calls: int | None = None
    calls_per_turn: int = 64
    parallel_calls: int = 8
    observation_chars: int = 50_000
    identical_failures: int | None = None

    def __attrs_post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not value > 0:  # also refuses NaN
                raise InvalidInputError(f"must be positive, not {value}", field=name)
