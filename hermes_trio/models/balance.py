"""Which of several model servers is asked next. PURE: time is an argument.

A trajectory stays with its server, because that has the key-value cache of its prefix; a new one goes where
the fewest requests are under way, and among those where the fewest trajectories live. A server that failed
is left alone for a while, longer each time; when the while is over one request tries it, and the others
follow when that one was answered. A trajectory whose server is away moves, and stays where it moved.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from attrs import define, field, frozen

FIRST_REST_S = 1.0
MAX_REST_S = 30.0
"""How long a server that failed is left alone: doubled with each failure, up to this."""

MAX_REMEMBERED = 65_536
"""Trajectories whose server is remembered; the one not heard of for longest is forgotten first."""


@define(eq=False)
class Candidate:
    """One server, as far as choosing goes."""

    in_flight: int = 0
    trajectories: int = 0
    """Of those that are remembered."""
    failures: int = 0
    """Since it answered last."""
    rests_until_s: float = 0.0
    is_tried: bool = False
    """A request is under way that finds out whether it is back."""

    def is_open(self, now_s: float) -> bool:
        """Whether it may be asked."""
        return self.failures == 0 or (now_s >= self.rests_until_s and not self.is_tried)


@frozen
class Choice:
    """One request's server; ``is_trial`` when it is the one that finds out whether the server is back."""

    index: int
    is_trial: bool = False


@define(eq=False)
class Balance:
    """The servers of one client.

    Whoever chooses must tell how it ended, once: :meth:`answered`, :meth:`failed` or :meth:`left`.

    Args:
        candidates: one for each server.
    """

    candidates: Sequence[Candidate]
    _homes: OrderedDict[str, int] = field(factory=OrderedDict, init=False)

    def choose(self, trajectory_id: str | None, *, now_s: float, avoid: int | None = None) -> Choice:
        """The server to ask, which has one request more under way from now on.

        Args:
            trajectory_id: stays with its server; ``None``: belongs to none.
            now_s: of any clock that does not go back.
            avoid: the server that has just failed this request; asked again only if there is no other.
        """
        chosen = self._chosen(trajectory_id, now_s, avoid)
        if trajectory_id is not None:
            self._settle(trajectory_id, chosen)
        candidate = self.candidates[chosen]
        candidate.in_flight += 1
        is_trial = candidate.failures > 0 and not candidate.is_tried
        candidate.is_tried = candidate.is_tried or is_trial
        return Choice(chosen, is_trial)

    def _chosen(self, trajectory_id: str | None, now_s: float, avoid: int | None) -> int:
        home = self._homes.get(trajectory_id) if trajectory_id is not None else None
        if home is not None and home != avoid and self.candidates[home].is_open(now_s):
            return home
        able = [index for index, each in enumerate(self.candidates) if each.is_open(now_s)]
        others = [index for index in able if index != avoid]
        if others or able:
            return min(others or able, key=self._load)
        # All are away: asking the one that rests least says so in the words of a real failure.
        return min(range(len(self.candidates)), key=lambda index: self.candidates[index].rests_until_s)

    def _load(self, index: int) -> tuple[int, int]:
        return self.candidates[index].in_flight, self.candidates[index].trajectories

    def _settle(self, trajectory_id: str, chosen: int) -> None:
        home = self._homes.pop(trajectory_id, None)
        if home is not None:
            self.candidates[home].trajectories -= 1
        elif len(self._homes) >= MAX_REMEMBERED:
            _, forgotten = self._homes.popitem(last=False)
            self.candidates[forgotten].trajectories -= 1
        self._homes[trajectory_id] = chosen
        self.candidates[chosen].trajectories += 1

    def has_other(self, index: int, *, now_s: float) -> bool:
        """Whether another server may be asked at once."""
        return any(each.is_open(now_s) for at, each in enumerate(self.candidates) if at != index)

    def answered(self, choice: Choice) -> None:
        """It does its work, whatever it said."""
        self.left(choice)
        self.candidates[choice.index].failures = 0

    def failed(self, choice: Choice, *, now_s: float) -> None:
        """It could not be reached, or is of no use now."""
        self.left(choice)
        candidate = self.candidates[choice.index]
        candidate.failures += 1
        rest_s = min(MAX_REST_S, FIRST_REST_S * 2.0 ** min(candidate.failures - 1, 10))
        candidate.rests_until_s = now_s + rest_s

    def left(self, choice: Choice) -> None:
        """The caller went away: that says nothing about the server."""
        candidate = self.candidates[choice.index]
        candidate.in_flight -= 1
        candidate.is_tried = candidate.is_tried and not choice.is_trial
