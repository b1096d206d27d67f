"""A backend whose daemons are fakes in this process, reached over links in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import final

from hermes_trio.backends.base import Backend, DaemonEndpoint, EndpointBoard
from hermes_trio.link.message import MessageLink
from hermes_trio.testing.fake_daemon import FakeDaemon

WrapLink = Callable[[MessageLink], MessageLink]


def _as_it_is(link: MessageLink) -> MessageLink:
    return link


@final
class MemoryBackend(Backend):
    """Fakes by name. Under ``trio.testing.MockClock`` a rollout of minutes takes milliseconds.

    Sessions end with their links unless the fakes are running; :func:`open_memory_backend` sees to it.

    Args:
        daemons: the fakes; publish or withdraw on ``board`` to let one come or go.
        wrap: put around the executor's end of each new link, for instance to make it faulty.
    """

    def __init__(self, daemons: Mapping[str, FakeDaemon], *, wrap: WrapLink = _as_it_is) -> None:
        self._daemons = dict(daemons)
        self._wrap = wrap
        self._board = EndpointBoard()
        for name in daemons:
            self._board.publish(DaemonEndpoint(name=name, url=f"memory:{name}"))

    @property
    def name(self) -> str:
        """``memory``."""
        return "memory"

    @property
    def board(self) -> EndpointBoard:
        """Where the fakes are."""
        return self._board

    @asynccontextmanager
    async def dial(
        self, endpoint: DaemonEndpoint, *, max_message_bytes: int, connect_timeout: float
    ) -> AsyncIterator[MessageLink]:
        """A link in memory; see :meth:`Backend.dial`.

        Cancellation: atomic.
        """
        async with self._daemons[endpoint.name].dial() as link, self._wrap(link) as wrapped:
            yield wrapped


@asynccontextmanager
async def open_memory_backend(
    daemons: Mapping[str, FakeDaemon], *, wrap: WrapLink = _as_it_is
) -> AsyncIterator[MemoryBackend]:
    """Fakes that keep sessions when links are lost, as real daemons do.

    Cancellation: atomic.

    Args:
        daemons: the fakes.
        wrap: see :class:`MemoryBackend`.
    """
    async with AsyncExitStack() as stack:
        for daemon in daemons.values():
            await stack.enter_async_context(daemon.running())
        yield MemoryBackend(daemons, wrap=wrap)
