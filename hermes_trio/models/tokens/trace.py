"""The tokens of a trajectory, call by call, without keeping each prompt again. PURE.

A call's prompt is the whole conversation so far, so ten calls of one conversation name its beginning ten
times. As long as each prompt begins with exactly what was read and sampled before it, one growing sequence
holds them all. Where it does not, the chat template or the caller rendered the past differently from how it
was sampled (*template drift*): the sampled tokens were never read again in that form, and the model sampled
on from something else. Then a new branch is begun, and the drift is kept for whoever asks.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator

from attrs import define, evolve, field, frozen

from hermes_trio.models.tokens.calls import CallTokens, TokenIds

SHOWN_IDS = 8
"""Of each side of a drift: enough to decode and to see what the template did."""


@frozen(kw_only=True)
class Drift:
    """A prompt that did not go on from what was sampled.

    Args:
        call: its number in the trace, from 0.
        branch: the one it should have gone on from.
        position: the first id of that branch which the prompt does not have there.
        lost: how many ids of the branch are not in the prompt, counted from ``position``.
        expected: the branch from ``position`` on, at most 8 ids.
        found: the prompt from ``position`` on, at most 8 ids.
    """

    call: int
    branch: int
    position: int
    lost: int
    expected: TokenIds
    found: TokenIds


@frozen(kw_only=True)
class Turn:
    """Where one call lies in its branch: read up to ``start``, sampled from there up to ``end``."""

    call: int
    start: int
    end: int
    logprobs: array[float] | None


@define(eq=False)
class Branch:
    """One sequence of ids, with the calls that sampled parts of it, in order."""

    ids: array[int]
    turns: list[Turn] = field(factory=list)


@define(eq=False)
class TokenTrace:
    """Filled by :meth:`append`, one call after another; see the module.

    A trace is ``text_only`` as soon as one call came without ids. It stays so: what is missing is not made
    up by tokenizing text.
    """

    branches: list[Branch] = field(factory=list, init=False)
    drifts: list[Drift] = field(factory=list, init=False)
    _calls: list[CallTokens] = field(factory=list, init=False)
    """Without the ids that a branch has."""
    _current: int = field(default=-1, init=False)

    def append(self, call: CallTokens) -> None:
        """Take in the next call."""
        number = len(self._calls)
        if call.problem or call.prompt_ids is None or call.completion_ids is None:
            self._calls.append(evolve(call, prompt_ids=None, problem=call.problem or "no token ids"))
            return
        prompt = array("I", call.prompt_ids)
        branch = self._branch_for(prompt, number)
        branch.ids.extend(prompt[len(branch.ids) :])
        start = len(branch.ids)
        branch.ids.extend(call.completion_ids)
        logprobs = None if call.logprobs is None else array("d", call.logprobs)
        branch.turns.append(Turn(call=number, start=start, end=len(branch.ids), logprobs=logprobs))
        self._calls.append(evolve(call, prompt_ids=None, completion_ids=None, logprobs=None))

    def _branch_for(self, prompt: array[int], number: int) -> Branch:
        """The longest branch that the prompt goes on from, or a new one."""
        fitting = [index for index, branch in enumerate(self.branches) if _begins_with(prompt, branch.ids)]
        if fitting:
            self._current = max(fitting, key=lambda index: len(self.branches[index].ids))
            return self.branches[self._current]
        if self.branches:
            self.drifts.append(self._drift(prompt, number))
        self.branches.append(Branch(array("I")))
        self._current = len(self.branches) - 1
        return self.branches[-1]

    def _drift(self, prompt: array[int], number: int) -> Drift:
        ids = self.branches[self._current].ids
        position = _common_length(ids, prompt)
        return Drift(
            call=number,
            branch=self._current,
            position=position,
            lost=len(ids) - position,
            expected=tuple(ids[position : position + SHOWN_IDS]),
            found=tuple(prompt[position : position + SHOWN_IDS]),
        )

    @property
    def text_only(self) -> bool:
        """Whether ids of at least one call are missing."""
        return any(call.problem for call in self._calls)

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for each call without ids."""
        return tuple(
            f"call {number}: {call.problem}" for number, call in enumerate(self._calls) if call.problem
        )

    @property
    def weight_versions(self) -> tuple[str | None, ...]:
        """Of each call, ``None`` where the server did not tell it."""
        return tuple(call.weight_version for call in self._calls)

    def calls(self) -> Iterator[CallTokens]:
        """The calls as they were appended; those without ids as far as they go, without their prompts."""
        places = {turn.call: (branch, turn) for branch in self.branches for turn in branch.turns}
        for number, call in enumerate(self._calls):
            if number not in places:
                yield call
                continue
            branch, turn = places[number]
            yield evolve(
                call,
                prompt_ids=tuple(branch.ids[: turn.start]),
                completion_ids=tuple(branch.ids[turn.start : turn.end]),
                logprobs=None if turn.logprobs is None else tuple(turn.logprobs),
            )

    def __len__(self) -> int:
        return len(self._calls)

    def __repr__(self) -> str:
        size = sum(len(branch.ids) for branch in self.branches)
        more = f", {len(self.drifts)} drifts" if self.drifts else ""
        return f"<TokenTrace {len(self)} calls, {size} ids{more}{', text only' if self.text_only else ''}>"


def _begins_with(ids: array[int], beginning: array[int]) -> bool:
    return len(ids) >= len(beginning) and ids[: len(beginning)] == beginning


def _common_length(one: array[int], other: array[int]) -> int:
    """How many ids both begin with. Comparing slices runs in C; walking over them does not."""
    longest = min(len(one), len(other))
    differs = bisect_left(range(1, longest + 1), True, key=lambda length: one[:length] != other[:length])
    return min(differs, longest)
