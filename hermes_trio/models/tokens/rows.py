"""Training rows: the branches of a trace with masks. PURE.

What holds of the rows of one trace, and is tested: every sampled id is masked 1 in exactly one row and at one
place, every other id is masked 0, and the ids under the mask, row by row, are the completions in order of
their calls.
"""

from __future__ import annotations

from attrs import frozen

from hermes_trio.errors import HermesTrioError
from hermes_trio.models.tokens.calls import TokenIds
from hermes_trio.models.tokens.trace import Branch, TokenTrace


class TextOnlyError(HermesTrioError):
    """There are no rows: ids are missing, and none are made up from text.

    Attributes:
        problems: one line for each call without ids.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        more = f" (and {len(problems) - 1} more calls)" if len(problems) > 1 else ""
        super().__init__(f"The trajectory has no token ids to train on: {problems[0]}{more}.")
        self.problems = problems


@frozen(kw_only=True)
class TrainingRow:
    """One sequence to train on. ``token_ids``, ``mask`` and ``logprobs`` go together by position.

    Args:
        token_ids: prompt, completion, tool answers, completion, ..., as they were read and sampled.
        mask: 1 exactly on what was sampled.
        logprobs: of the sampled ids, 0.0 elsewhere; ``None`` when the server left out some.
        calls: numbers of the calls in it.
        spans: where each call's completion begins and ends.
    """

    token_ids: TokenIds
    mask: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    calls: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


def training_rows(trace: TokenTrace) -> tuple[TrainingRow, ...]:
    """One row for each branch; one in all, unless the template drifted.

    Raises:
        TextOnlyError: ids of a call are missing.
    """
    if trace.text_only:
        raise TextOnlyError(trace.problems)
    return tuple(_row(branch) for branch in trace.branches)


def _row(branch: Branch) -> TrainingRow:
    mask = bytearray(len(branch.ids))
    for turn in branch.turns:
        mask[turn.start : turn.end] = b"\1" * (turn.end - turn.start)
    return TrainingRow(
        token_ids=tuple(branch.ids),
        mask=tuple(mask),
        logprobs=_logprobs(branch),
        calls=tuple(turn.call for turn in branch.turns),
        spans=tuple((turn.start, turn.end) for turn in branch.turns),
    )


def _logprobs(branch: Branch) -> tuple[float, ...] | None:
    values = [0.0] * len(branch.ids)
    for turn in branch.turns:
        if turn.logprobs is None:
            return None
        values[turn.start : turn.end] = turn.logprobs
    return tuple(values)
