"""The servers of one client: choosing one, asking it, and asking again where that is safe."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import trio
from attrs import define, field

from hermes_trio.models.balance import Balance, Candidate, Choice
from hermes_trio.models.errors import (
    ModelConnectionError,
    ModelError,
    ModelStatusError,
    ModelUnreachableError,
)
from hermes_trio.models.retries import RetryPolicy
from hermes_trio.models.server import Answer, ModelServer

_OUT_OF_ORDER = frozenset({502, 503, 504})


@define(eq=False, kw_only=True)
class ServerPool:
    """See the module.

    Args:
        servers: at least one.
        retries: ``None``: each call is asked once.
        dice: evenly from 0 to 1.
    """

    servers: Sequence[ModelServer]
    retries: RetryPolicy | None
    dice: Callable[[], float]
    balance: Balance = field(init=False)
    retried: int = field(default=0, init=False)
    """Requests that were repeated since the beginning."""

    def __attrs_post_init__(self) -> None:
        self.balance = Balance([Candidate() for _ in self.servers])

    async def open(self, body: bytes, *, trajectory_id: str | None) -> OpenCall:
        """Ask until there is an answer with status 200, or asking again is no use.

        Cancellation: *abandons*.

        Raises:
            ModelError: what the last attempt ended with.
            ClosedError: the client is closed.
        """
        waited_s, attempt, avoid = 0.0, 1, None
        while True:
            asked_at = trio.current_time()
            choice = self.balance.choose(trajectory_id, now_s=asked_at, avoid=avoid)
            try:
                answer = await self._ask(choice, body)
            except ModelError as error:
                delay_s = self._delay_s(error, choice, attempt=attempt, waited_s=waited_s)
                if delay_s is None:
                    raise
            else:
                return OpenCall(pool=self, choice=choice, answer=answer, attempt=attempt, asked_at=asked_at)
            await trio.sleep(delay_s)
            self.retried += 1
            waited_s, attempt, avoid = waited_s + delay_s, attempt + 1, choice.index

    async def _ask(self, choice: Choice, body: bytes) -> Answer:
        try:
            return await self.servers[choice.index].open(body)
        except BaseException as error:
            self.settle(choice, error)
            raise

    def settle(self, choice: Choice, error: BaseException | None) -> None:
        """Tell the balance how a request ended; once for each choice."""
        match error:
            case ModelUnreachableError() | ModelConnectionError():
                self.balance.failed(choice, now_s=trio.current_time())
            case ModelStatusError(status=status) if status in _OUT_OF_ORDER:
                self.balance.failed(choice, now_s=trio.current_time())
            case None | ModelError():
                self.balance.answered(choice)
            case _:
                self.balance.left(choice)

    async def aclose(self) -> None:
        """Close every connection; idempotent.

        Cancellation: *shielded, at most 2 s*.
        """
        async with trio.open_nursery() as nursery:
            for server in self.servers:
                nursery.start_soon(server.clients.aclose)

    def _delay_s(self, error: ModelError, choice: Choice, *, attempt: int, waited_s: float) -> float | None:
        if self.retries is None:
            return None
        now_s = time.time()
        delay_s = self.retries.delay_s(
            error, attempt=attempt, waited_s=waited_s, dice=self.dice(), now_s=now_s
        )
        if delay_s is not None and self.balance.has_other(choice.index, now_s=trio.current_time()):
            return 0.0
        return delay_s


@define(eq=False, kw_only=True)
class OpenCall:
    """A call whose answer is coming in, closed at the end of a block."""

    pool: ServerPool
    choice: Choice
    answer: Answer
    attempt: int
    asked_at: float
    """When the attempt that is answered began, on Trio's clock."""

    @property
    def server(self) -> ModelServer:
        """The one that answers."""
        return self.pool.servers[self.choice.index]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.pool.settle(self.choice, exc)
        await self.answer.aclose()
