"""What a scripted policy is and answers. PURE."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from attrs import frozen

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]]


@frozen
class ScriptedCall:
    """A tool call as a server sends it: ``arguments`` is JSON text, right or wrong."""

    name: str
    arguments: str

    @classmethod
    def of(cls, name: str, **arguments: Any) -> ScriptedCall:
        """A call with well-formed arguments."""
        return cls(name, json.dumps(arguments))


@frozen(kw_only=True)
class Reply:
    """One turn of the model: text, calls, or both. ``finish_reason`` follows from the calls unless given."""

    content: str | None = None
    calls: tuple[ScriptedCall, ...] = ()
    reasoning: str | None = None
    finish_reason: str | None = None


Policy = Callable[[Messages, Tools], Reply]
"""Only the request's messages and tools give the reply: the same request, the same reply."""


@runtime_checkable
class SeededPolicy(Protocol):
    """A policy that throws dice, and lets a request's ``seed`` turn them, as a sampling server does."""

    def with_request_seed(self, seed: int) -> Policy:
        """The policy for requests with this seed."""
        ...


def policy_for(policy: Policy, seed: int | None) -> Policy:
    """The policy that answers a request with this ``seed``; ``None``: it has none."""
    given: object = policy  # the type checker holds that no function has methods; policies are objects too
    return given.with_request_seed(seed) if seed is not None and isinstance(given, SeededPolicy) else policy
