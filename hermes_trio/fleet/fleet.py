"""This side of the daemons: one session with each endpoint of the backend, kept up while the fleet is open.

A daemon that cannot be reached is tried again with growing, jittered pauses; one that refuses us (wrong
token, another protocol version) is not, until the backend publishes something new about it.

**Patience.** A session that lost its link has ``resume_within_s`` to get another one. If nothing listens at
the address any more, the daemon has most likely died, and ``refused_within_s`` is all that its calls wait. An
endpoint that the backend withdraws has died for certain, and its calls end at once.
"""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Never

import trio
from attrs import define, field, frozen

from hermes_trio.backends.base import Backend, DaemonEndpoint
from hermes_trio.errors import (
    HermesTrioError,
    InvalidInputError,
    LinkLostError,
    NobodyThereError,
    Provenance,
    RefusedError,
    SandboxLostError,
    UnavailableError,
)
from hermes_trio.fleet.connection import ConnectionListener, DaemonConnection
from hermes_trio.link.background import open_background_nursery
from hermes_trio.link.pump import PumpConfig
from hermes_trio.telemetry.bus import EventBus
from hermes_trio.telemetry.events import Event, FailureNoted, bounded_text
from hermes_trio.telemetry.log import get_logger
from hermes_trio.wire.frames import Limits

logger = get_logger(__name__)


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
        resume_within_s: how long the calls of a session that lost its link wait for another one.
        refused_within_s: the same while nothing listens at the address.
        chance: draws from [0, 1), for the jitter.
        unreachable_after_s: without any daemon for this long, those who wait for a slot are told so.
        farewell_s: seconds for saying goodbye to all daemons.
    """

    pump: PumpConfig = field(factory=PumpConfig)
    limits: Limits = field(factory=Limits)
    connect_timeout: float = 10.0
    first_retry_s: float = 0.05
    max_retry_s: float = 5.0
    resume_within_s: float = 10.0
    refused_within_s: float = 1.5
    chance: Callable[[], float] = random.random
    unreachable_after_s: float = 30.0
    farewell_s: float = 2.0


@define(eq=False)
class _Member:
    """One endpoint under supervision."""

    endpoint: DaemonEndpoint
    scope: trio.CancelScope
    connection: DaemonConnection | None = None
    patience: trio.CancelScope = field(factory=trio.CancelScope)
    """Of the connection: has a deadline while it has no link."""
    failure: HermesTrioError | None = None
    """Why the last attempt failed."""
    refused: bool = False
    """Not to be tried again as it is."""
    withdrawn: bool = False
    """The backend says that this daemon is gone."""

    @property
    def is_up(self) -> bool:
        """Whether calls travel to it now."""
        return self.connection is not None and self.connection.is_open

    @property
    def is_met(self) -> bool:
        """It has welcomed us, and the session lives, with a link or without."""
        connection = self.connection
        return connection is not None and connection.welcome is not None and not connection.is_over


@define
class _Pauses:
    """The pauses between attempts: they double, and chance keeps executors from knocking in step."""

    config: FleetConfig
    _next_s: float = 0.0

    def after(self, lasted_s: float, *, was_of_use: bool = False) -> float:
        """The pause after an attempt that lasted so long, link included."""
        config = self.config
        # Only a link that has lasted, or answered a call, starts the pauses over: any other has failed.
        if was_of_use or lasted_s > config.max_retry_s or not self._next_s:
            self._next_s = config.first_retry_s
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, config.max_retry_s)
        return pause_s * (0.5 + config.chance() / 2)


class Fleet:
    """The connections. Made by :func:`open_fleet`."""

    def __init__(
        self, backend: Backend, *, listener: ConnectionListener, config: FleetConfig, bus: EventBus
    ) -> None:
        self._backend = backend
        self._bus = bus
        self._listener = listener
        self._config = config
        self._members: dict[str, _Member] = {}
        self._tap: Callable[[str, bool, bytes], None] | None = None
        self._changed = trio.Event()
        self._following = False  # the board has been read
        self._reconnects = self._sessions_lost = 0  # of connections that are over
        self._alone_since = math.inf  # since when no daemon is up

    def __repr__(self) -> str:
        up = sum(member.is_up for member in self._members.values())
        return f"<Fleet {up} of {len(self._members)} daemons up>"

    @property
    def connections(self) -> tuple[DaemonConnection, ...]:
        """Those that are up."""
        return tuple(m.connection for m in self._members.values() if m.connection and m.is_up)

    def present(self) -> Iterator[tuple[float, Event]]:
        """The events that make the daemons' present state."""
        for member in self._members.values():
            if member.connection is not None and member.connection.welcome is not None:
                yield member.connection.present()

    @property
    def reconnects(self) -> int:
        """Links that took up a session where the link before had left it."""
        living = (member.connection for member in self._members.values() if member.connection)
        return self._reconnects + sum(connection.reconnects for connection in living)

    @property
    def sessions_lost(self) -> int:
        """Sessions that ended although nobody had said goodbye."""
        living = (member.connection for member in self._members.values() if member.connection)
        return self._sessions_lost + sum(connection.resets for connection in living)

    def set_tap(self, tap: Callable[[str, bool, bytes], None] | None) -> None:
        """Show somebody each message of each link from now on.

        Args:
            tap: hears the daemon's name, whether the message is sent (true) or came, and the message; must
                neither block nor raise. ``None``: nobody looks any more.
        """
        self._tap = tap
        for member in self._members.values():
            if member.connection is not None:
                self._tap_into(member.connection)

    def _tap_into(self, connection: DaemonConnection) -> None:
        connection.set_tap(None if self._tap is None else partial(self._tap, connection.name))

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
            self._following and all(member.is_up or member.failure for member in self._members.values())
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
            self._tell()
            board = self._backend.board
            snapshot = board.snapshot
            self._follow(snapshot.endpoints, nursery)
            while True:
                patience_s = math.inf if snapshot.endpoints else self._config.unreachable_after_s
                with trio.move_on_after(patience_s):
                    snapshot = await board.wait_newer(snapshot.version)
                    self._follow(snapshot.endpoints, nursery)
                    continue
                self._tell_empty("it has none")

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
                member.withdrawn = True
                member.scope.cancel()
                del self._members[name]
        for name, endpoint in wanted.items():
            if name not in self._members:
                member = self._members[name] = _Member(endpoint, trio.CancelScope())
                nursery.start_soon(self._keep_up, member)
        failure = self._backend.board.snapshot.failure
        if failure and not wanted:  # given up for good; one that is being started again is waited for
            self._tell_empty(failure)
        self._following = True
        self._tell()

    async def _keep_up(self, member: _Member) -> None:
        """One session after another with one endpoint."""
        await trio.lowlevel.checkpoint()
        pauses = _Pauses(self._config)
        with member.scope:
            while not member.refused:
                connection = member.connection = self._new_connection(member)
                self._tap_into(connection)
                try:
                    with trio.CancelScope() as member.patience:
                        await self._hold(member, connection, pauses)
                finally:
                    self._retire(member, connection)
                if connection.left:
                    return

    async def _hold(self, member: _Member, connection: DaemonConnection, pauses: _Pauses) -> None:
        """One session, over one link after another."""
        await trio.lowlevel.checkpoint()
        while not (connection.is_over or member.refused):
            began = trio.current_time()
            try:
                await self._connect_once(member, connection)
            except HermesTrioError as exc:
                if connection.left:
                    return
                self._note(member, exc)
            lasted_s = trio.current_time() - began
            await trio.sleep(pauses.after(lasted_s, was_of_use=connection.was_of_use))

    def _new_connection(self, member: _Member) -> DaemonConnection:
        def opened() -> None:
            member.patience.deadline = math.inf
            self._tell()

        return DaemonConnection(
            member.endpoint.name,
            listener=self._listener,
            on_open=opened,
            limits=self._config.limits,
            pump=self._config.pump,
            bus=self._bus,
            url=member.endpoint.url,
        )

    async def _connect_once(self, member: _Member, connection: DaemonConnection) -> None:
        """One link, from connecting to its end."""
        config = self._config
        async with self._backend.dial(
            member.endpoint,
            max_message_bytes=config.limits.max_message_bytes,
            connect_timeout=config.connect_timeout,
        ) as link:
            await connection.run(link)

    def _note(self, member: _Member, failure: HermesTrioError) -> None:
        """An attempt, or a link, has failed."""
        config, now = self._config, trio.current_time()
        if self._bus.listening:
            where = f"fleet:{member.endpoint.name}"
            self._bus.publish(
                FailureNoted(where=where, provenance=Provenance.LINK_LOST, error=bounded_text(str(failure)))
            )
        if not isinstance(failure, RefusedError):  # that one is raised, or told to those who wait
            logger.warning("a daemon has no link", daemon=member.endpoint.name, reason=failure)
        if member.is_met:
            nobody = isinstance(failure, NobodyThereError)
            limit_s = config.refused_within_s if nobody else config.resume_within_s
            member.patience.deadline = min(member.patience.deadline, now + limit_s)
        else:
            # A bad address or token is as final as a refusal: only a new endpoint can mend it.
            member.refused = isinstance(failure, (RefusedError, InvalidInputError))
        member.failure = failure
        self._tell()
        self._tell_if_alone(failure)

    def _retire(self, member: _Member, connection: DaemonConnection) -> None:
        """No link will carry this session any more."""
        name = member.endpoint.name
        if connection.welcome is not None and not connection.left:
            self._sessions_lost += 1
        self._reconnects += connection.reconnects
        self._sessions_lost += connection.resets
        member.connection = None
        if member.withdrawn:
            connection.end(
                SandboxLostError(f"daemon {name} is gone: backend {self._backend.name} withdrew it")
            )
        else:
            why = member.failure or "the connection was closed"
            connection.end(LinkLostError(f"the link to daemon {name} was lost: {why}"))
        self._tell()

    def _tell_if_alone(self, failure: HermesTrioError) -> None:
        alone_s = trio.current_time() - self._alone_since
        if alone_s > self._config.unreachable_after_s or (not self.connections and self._hopeless()):
            self._listener.fleet_unreachable(f"no sandbox daemon can be reached: {failure}")

    def _tell_empty(self, why: str) -> None:
        self._listener.fleet_unreachable(f"backend {self._backend.name} has no daemon left: {why}")

    def _hopeless(self) -> bool:
        # A backend that has no daemon may be starting one again; the board says when it has given up.
        return bool(self._members) and all(member.refused for member in self._members.values())

    def _tell(self) -> None:
        """Something has changed."""
        self._alone_since = math.inf if self.connections else min(self._alone_since, trio.current_time())
        self._changed.set()
        self._changed = trio.Event()


@asynccontextmanager
async def open_fleet(
    backend: Backend,
    *,
    listener: ConnectionListener,
    config: FleetConfig | None = None,
    bus: EventBus | None = None,
) -> AsyncIterator[Fleet]:
    """Connect to a backend's daemons and keep connected while the body runs.

    On the way out goodbye is said on every link, then the links are closed.

    Cancellation: shielded, at most ``farewell_s`` s; links are closed on every way out.

    Args:
        backend: where the daemons are.
        listener: hears of daemons that come and go; see :class:`ConnectionListener`.
        config: how they are reached.
        bus: where their lives are told; ``None``: to nobody.

    Raises:
        UnavailableError: a daemon refuses us, or none can be reached.
    """
    config = config or FleetConfig()
    fleet = Fleet(backend, listener=listener, config=config, bus=bus or EventBus())
    async with open_background_nursery() as nursery:
        nursery.start_soon(fleet.run)  # the helpers' nursery is cancelled when this block is over
        try:
            await fleet.wait_contact()
            yield fleet
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + config.farewell_s):
                await fleet.farewell()
