"""A backend whose daemons are fakes in this process, reached over links in memory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import final

from hermes_trio.backends.base import Backend, DaemonEndpoint, EndpointBoard
from hermes_trio.link.message import MessageLink
from hermes_trio.testing.fake_daemon import FakeDaemon


@final
class MemoryBackend(Backend):
    """Fakes by name. Under ``trio.testing.MockClock`` a rollout of minutes takes milliseconds.

    Args:
        daemons: the fakes; publish or withdraw on ``board`` to let one come or go.
    """

    def __init__(self, daemons: Mapping[str, FakeDaemon]) -> None:
        self._daemons = dict(daemons)
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

    def dial(
        self, endpoint: DaemonEndpoint, *, max_message_bytes: int, connect_timeout: float
    ) -> AbstractAsyncContextManager[MessageLink]:
        """A link in memory; see :meth:`Backend.dial`."""
        return self._daemons[endpoint.name].dial()
