"""Mistakes that real models make, at seeded random, over any policy. PURE.

The dice are thrown by seed, the request's own seed, task and turn, so one transcript always meets the same
mistakes, in any order of requests and in any process; the members of a group, whose requests have seeds of
their own, meet different ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import Enum
from typing import assert_never

from attrs import evolve, frozen

from hermes_trio.agents.prompt import task_id_of
from hermes_trio.testing.scripted.reply import Messages, Policy, Reply, ScriptedCall, Tools

WRONG_COMMAND = "cat no-such-file.txt && exit 3"
UNKNOWN_TOOL = "shell_of_my_dreams"
GAVE_UP = "I give up."


class Mistake(Enum):
    """What can go wrong with a turn that would have called a tool."""

    WRONG_COMMAND = "wrong_command"
    UNKNOWN_TOOL = "unknown_tool"
    BAD_JSON = "bad_json"
    GIVE_UP = "give_up"


@frozen
class _Erring:
    policy: Policy
    seed: int
    probability: float
    mistakes: Sequence[Mistake]
    request_seed: int | None = None

    def __call__(self, messages: Messages, tools: Tools) -> Reply:
        reply = self.policy(messages, tools)
        thrown_for = f"{self.seed}/{self.request_seed}/{task_id_of(messages)}/{_turn(messages)}"
        whether, which = _dice(thrown_for)
        if not reply.calls or whether >= self.probability:
            return reply
        return _spoil(reply, self.mistakes[int(which * len(self.mistakes))])

    def with_request_seed(self, seed: int) -> Policy:
        """Its dice, turned by the seed of a request."""
        return evolve(self, request_seed=seed)


def erring_policy(
    policy: Policy, *, seed: int = 0, probability: float = 0.2, mistakes: Sequence[Mistake] = tuple(Mistake)
) -> Policy:
    """The policy, with a mistake in place of a tool call every now and then.

    All but :attr:`Mistake.GIVE_UP` leave the task solvable: the next turn goes on where this one should.

    Args:
        policy: what is spoiled.
        seed: of the dice.
        probability: of a mistake in a turn that calls a tool, 0 to 1.
        mistakes: the kinds to choose from, each as likely.
    """
    return _Erring(policy, seed, probability, tuple(mistakes))


def _dice(thrown_for: str) -> tuple[float, float]:
    """Two numbers in [0, 1), the same for the same text in every process and version of Python."""
    digest = hashlib.sha256(thrown_for.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48, int.from_bytes(digest[6:12], "big") / 2**48


def _turn(messages: Messages) -> int:
    return sum(message.get("role") == "assistant" for message in messages)


def _spoil(reply: Reply, mistake: Mistake) -> Reply:
    first = reply.calls[0]
    match mistake:
        case Mistake.WRONG_COMMAND:
            spoiled = ScriptedCall.of(first.name, command=WRONG_COMMAND)
        case Mistake.UNKNOWN_TOOL:
            spoiled = evolve(first, name=UNKNOWN_TOOL, arguments=ScriptedCall.of("", input="x").arguments)
        case Mistake.BAD_JSON:
            spoiled = evolve(first, arguments=first.arguments[:-1])
        case Mistake.GIVE_UP:
            return Reply(content=GAVE_UP)
        case _:
            assert_never(mistake)
    return evolve(reply, calls=(spoiled, *reply.calls[1:]))
