"""What every backend offers: a board that says where daemons are now."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import final

import trio
from attrs import field, frozen

from hermes_trio.link.message import MessageLink
from hermes_trio.link.websocket import open_websocket_link


@frozen(kw_only=True)
class DaemonEndpoint:
    """One daemon's address."""

    name: str
    """Stays the same when the daemon is restarted; the URL need not."""
    url: str
    token: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class BoardSnapshot:
    """The board at one moment."""

    version: int
    """Grows with every change."""
    endpoints: tuple[DaemonEndpoint, ...]
    """In the order in which their names first appeared."""
    failure: str = ""
    """Why a daemon was given up for good, when one was; the latest such reason. Endpoints that are left
    stay usable; with none left, nothing more will come."""


@final
class EndpointBoard:
    """Where daemons are published. Level triggered: a reader sees the latest state, never a queue of news."""

    def __init__(self) -> None:
        self._endpoints: dict[str, DaemonEndpoint] = {}
        self._snapshot = BoardSnapshot(version=0, endpoints=())
        self._changed = trio.Event()

    def __repr__(self) -> str:
        names = ", ".join(self._endpoints) or "empty"
        return f"<EndpointBoard v{self._snapshot.version}: {names}>"

    @property
    def snapshot(self) -> BoardSnapshot:
        """The board now."""
        return self._snapshot

    def publish(self, endpoint: DaemonEndpoint) -> None:
        """Add an endpoint, or move the one of that name to a new address."""
        if self._endpoints.get(endpoint.name) != endpoint:
            self._endpoints[endpoint.name] = endpoint
            self._change(self._snapshot.failure)

    def withdraw(self, name: str) -> None:
        """Take an endpoint off the board; nothing happens when it is not there."""
        if self._endpoints.pop(name, None) is not None:
            self._change(self._snapshot.failure)

    def give_up(self, name: str, reason: str) -> None:
        """Take an endpoint off for good and leave the reason on the board."""
        self._endpoints.pop(name, None)
        self._change(reason)

    async def wait_newer(self, version: int) -> BoardSnapshot:
        """Wait until the board is newer than ``version``, and return it.

        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint()
        while self._snapshot.version <= version:
            await self._changed.wait()
        return self._snapshot

    def _change(self, failure: str) -> None:
        self._snapshot = BoardSnapshot(
            version=self._snapshot.version + 1, endpoints=tuple(self._endpoints.values()), failure=failure
        )
        self._changed.set()
        self._changed = trio.Event()


class Backend(ABC):
    """A source of daemons, open for the length of a block."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The engine's name: ``local``, ``static``, ..."""

    @property
    @abstractmethod
    def board(self) -> EndpointBoard:
        """Where its daemons are."""

    def dial(
        self, endpoint: DaemonEndpoint, *, max_message_bytes: int, connect_timeout: float
    ) -> AbstractAsyncContextManager[MessageLink]:
        """A link to one of this backend's daemons: over a websocket, unless the backend knows another way.

        Args:
            endpoint: one from the board.
            max_message_bytes: a larger message ends the link.
            connect_timeout: seconds until the attempt is given up.
        """
        return open_websocket_link(
            endpoint.url,
            token=endpoint.token,
            max_message_bytes=max_message_bytes,
            connect_timeout=connect_timeout,
        )

    def __repr__(self) -> str:
        return f"<{self.name} backend {self.board!r}>"
