"""This side of the daemons: one connection for each endpoint of the backend, kept up while the fleet is open.

A daemon that cannot be reached is tried again with growing, jittered pauses; one that refuses us (wrong
token, another protocol version) is not, until the backend publishes something new about it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Never

import trio
from attrs import define, field, frozen

from hermes_trio.backends.base import Backend, DaemonEndpoint
from hermes_trio.errors import HermesTrioError, InvalidInputError, RefusedError, UnavailableError
from hermes_trio.fleet.connection import ConnectionListener, DaemonConnection
from hermes_trio.link.background import open_background_nursery
from hermes_trio.link.message import MessageLink
from hermes_trio.link.pump import PumpConfig
from hermes_trio.wire.frames import Limits

logger = logging.getLogger(__name__)


@frozen(kw_only=True)
class FleetConfig:
    """How daemons are reached.

    Args:
        pump: how each link is driven.
        limits: what this side is ready to take from a daemon.
        connect_timeout: seconds for one attempt to connect, handshake included.
        first_retry_s: pause before the second attempt; doubles up to ``max_retry_s``, each halved or not
            by chance so that many executors do not knock in step.
        max_retry_s: longest pause between two attempts.
        unreachable_after_s: without any daemon for this long, those who wait for a slot are told so.
        farewell_s: seconds for saying goodbye to all daemons.
    """

    pump: PumpConfig = field(factory=PumpConfig)
    limits: Limits = field(factory=Limits)
    connect_timeout: float = 10.0
    first_retry_s: float = 0.05
    max_retry_s: float = 5.0
    unreachable_after_s: float = 30.0
    farewell_s: float = 2.0


@define(eq=False)
class _Member:
    """One endpoint under supervision."""

    endpoint: DaemonEndpoint
    scope: trio.CancelScope
    connection: DaemonConnection | None = None
    failure: HermesTrioError | None = None
    """Why the last attempt failed."""
    refused: bool = False
    """Not to be tried again as it is."""


class Fleet:
    """The connections. Made by :func:`open_fleet`."""

    def __init__(self, backend: Backend, *, listener: ConnectionListener, config: FleetConfig) -> None:
        self._backend = backend
        self._listener = listener
        self._config = config
        self._members: dict[str, _Member] = {}
        self._changed = trio.Event()
        self._following = False  # the board has been read
        self._last_up = 0.0  # when a daemon was last up, while none is; at first, when the fleet was opened

    def __repr__(self) -> str:
        up = sum(_is_up(member) for member in self._members.values())
        return f"<Fleet {up} of {len(self._members)} daemons up>"

    @property
    def connections(self) -> tuple[DaemonConnection, ...]:
        """Those that are up."""
        return tuple(m.connection for m in self._members.values() if m.connection and _is_up(m))

    def address(self, name: str) -> str | None:
        """The URL of the daemon of this name, if it is known now."""
        member = self._members.get(name)
        return member.endpoint.url if member else None

    async def wait_contact(self) -> None:
        """Wait until each endpoint known now has answered or failed.

        Cancellation: atomic.

        Raises:
            UnavailableError: a daemon refuses us, or none at all could be reached.
        """
        await trio.lowlevel.checkpoint()
        while not (
            self._following and all(_is_up(member) or member.failure for member in self._members.values())
        ):
            await self._changed.wait()
        for member in self._members.values():
            if member.refused and member.failure is not None:
                raise member.failure
        if not self.connections:
            failures = [member.failure for member in self._members.values() if member.failure]
            why = str(failures[0]) if failures else f"backend {self._backend.name} has no daemon"
            raise UnavailableError(f"no sandbox daemon can be reached: {why}")

    async def run(self) -> Never:
        """Follow the backend's board until cancelled.

        Connections must outlive a cancelled body long enough to end its calls in order: whoever opened the
        fleet runs this where the body's cancel does not reach.

        Cancellation: poisons the links; calls that are under way end as ``LinkLostError``.
        """
        async with trio.open_nursery() as nursery:
            self._last_up = trio.current_time()
            board = self._backend.board
            snapshot = board.snapshot
            self._follow(snapshot.endpoints, nursery)
            while True:
                snapshot = await board.wait_newer(snapshot.version)
                self._follow(snapshot.endpoints, nursery)

    async def farewell(self) -> None:
        """Say goodbye on every connection.

        Cancellation: atomic for each connection.
        """
        async with trio.open_nursery() as nursery:
            for connection in self.connections:
                nursery.start_soon(connection.farewell)

    def _follow(self, endpoints: tuple[DaemonEndpoint, ...], nursery: trio.Nursery) -> None:
        wanted = {endpoint.name: endpoint for endpoint in endpoints}
        for name, member in list(self._members.items()):
            if wanted.get(name) != member.endpoint:
                member.scope.cancel()
                del self._members[name]
        for name, endpoint in wanted.items():
            if name not in self._members:
                member = self._members[name] = _Member(endpoint, trio.CancelScope())
                nursery.start_soon(self._keep_up, member)
        if not wanted:
            why = self._backend.board.snapshot.failure or "it has none"
            self._listener.fleet_unreachable(f"backend {self._backend.name} has no daemon left: {why}")
        self._following = True
        self._tell()

    async def _keep_up(self, member: _Member) -> None:
        """Connect to one endpoint again and again."""
        first_s, longest_s = self._config.first_retry_s, self._config.max_retry_s
        pause_s = first_s
        await trio.lowlevel.checkpoint()
        with member.scope:
            while not member.refused:
                began = trio.current_time()
                try:
                    await self._connect_once(member)
                except HermesTrioError as exc:
                    if member.connection is not None and member.connection.left:
                        return
                    # Only a link that has lasted starts the pauses over: one that ends at once has failed.
                    lasted = trio.current_time() - began > longest_s
                    pause_s = first_s if lasted else min(2 * pause_s, longest_s)
                    self._note(member, exc)
                await trio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    async def _connect_once(self, member: _Member) -> None:
        """One link, from connecting to its end."""
        config, endpoint = self._config, member.endpoint
        async with self._backend.dial(
            endpoint,
            max_message_bytes=config.limits.max_message_bytes,
            connect_timeout=config.connect_timeout,
        ) as link:
            await self._hold(member, link)

    async def _hold(self, member: _Member, link: MessageLink) -> None:
        member.connection = DaemonConnection(
            member.endpoint.name,
            listener=self._listener,
            on_open=self._tell,
            limits=self._config.limits,
            pump=self._config.pump,
        )
        await member.connection.run(link)

    def _note(self, member: _Member, failure: HermesTrioError) -> None:
        if not isinstance(failure, RefusedError):  # that one is raised, or told to those who wait
            logger.warning("daemon %s: %s", member.endpoint.name, failure)
        if member.connection is not None and member.connection.welcome is not None:
            self._last_up = trio.current_time()
        member.connection = None
        member.failure = failure
        # A bad address or token is as final as a refusal: only a new endpoint can mend it.
        member.refused = isinstance(failure, (RefusedError, InvalidInputError))
        self._tell()
        alone_s = trio.current_time() - self._last_up
        if not self.connections and (alone_s > self._config.unreachable_after_s or self._hopeless()):
            self._listener.fleet_unreachable(f"no sandbox daemon can be reached: {failure}")

    def _hopeless(self) -> bool:
        return all(member.refused for member in self._members.values())

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _is_up(member: _Member) -> bool:
    return member.connection is not None and member.connection.is_open


@asynccontextmanager
async def open_fleet(
    backend: Backend, *, listener: ConnectionListener, config: FleetConfig | None = None
) -> AsyncIterator[Fleet]:
    """Connect to a backend's daemons and keep connected while the body runs.

    On the way out goodbye is said on every link, then the links are closed.

    Cancellation: shielded, at most ``farewell_s`` s; links are closed on every way out.

    Args:
        backend: where the daemons are.
        listener: hears of daemons that come and go; see :class:`ConnectionListener`.
        config: how they are reached.

    Raises:
        UnavailableError: a daemon refuses us, or none can be reached.
    """
    config = config or FleetConfig()
    fleet = Fleet(backend, listener=listener, config=config)
    async with open_background_nursery() as nursery:
        nursery.start_soon(fleet.run)  # the helpers' nursery is cancelled when this block is over
        try:
            await fleet.wait_contact()
            yield fleet
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + config.farewell_s):
                await fleet.farewell()
