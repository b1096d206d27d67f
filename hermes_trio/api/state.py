"""What the routes share."""

from __future__ import annotations

from collections import OrderedDict

import trio
from attrs import define, field

from hermes_trio.api.idempotency import IdempotencyKeys
from hermes_trio.api.limits import ApiLimits
from hermes_trio.api.problems import ProblemError
from hermes_trio.api.reading import BodyRoom
from hermes_trio.executor.executor import Executor
from hermes_trio.executor.quiet import QuietSlot
from hermes_trio.link.asgi import bearer_refusal
from hermes_trio.link.auth import TokenGate


@define(kw_only=True, eq=False)
class ApiState:
    """One server's state.

    Args:
        executor: runs the calls.
        gate: decides over tokens; ``None``: everybody on this machine may come in.
        limits: see :class:`ApiLimits`.
        acquire_limit_s: how long the first call of a trajectory waits for a slot; ``None``: for ever.
    """

    executor: Executor
    gate: TokenGate | None = field(default=None, repr=False)
    limits: ApiLimits = field(factory=ApiLimits)
    acquire_limit_s: float | None = None
    bodies: BodyRoom = field(init=False)
    keys: IdempotencyKeys = field(factory=IdempotencyKeys)
    stopping: trio.Event = field(factory=trio.Event)
    """Set when the server was asked to stop: streams end, and nothing that lasts is begun."""
    quiet: OrderedDict[str, QuietSlot] = field(factory=OrderedDict, repr=False)
    """Trajectories that were quiesced over HTTP."""

    def __attrs_post_init__(self) -> None:
        self.bodies = BodyRoom(self.limits.max_bodies_bytes)

    def check_token(self, authorization: str | None) -> None:
        """Let in who presents the token.

        Raises:
            ProblemError: 401 without one, 403 with a wrong one.
        """
        refusal = bearer_refusal(self.gate, authorization)
        if refusal is not None:
            status, detail = refusal
            raise ProblemError(
                status, detail, headers={"www-authenticate": "Bearer"} if status == 401 else None
            )
