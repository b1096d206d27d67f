"""The event bus: what happens is told to those who listen, and nobody waits for them.

Theory of operation. Publishing is synchronous, never fails and never blocks: each listener has a bounded
queue of its own, and when that is full its *oldest* event is dropped and counted. Lossy by design: a runtime
that waits for its debugger is a worse runtime, and a listener that lost something sees it in the sequence
numbers (and in :attr:`Subscription.dropped`) and takes another snapshot.

It costs nothing when nobody listens: publishers ask :attr:`EventBus.listening` before they even make the
event. Numbers are given out only while somebody listens, so that a listener that has room sees each of them.

What is alive must be known to those who come late. Calls, leases and daemons are told by the executor, which
has them anyway; what only passes through (trajectories, turns, model calls: a few events a second each) is
kept here between its beginning and its end, see :meth:`EventBus.begin`.

For one Trio thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import trio
from attrs import frozen

from hermes_trio.telemetry.events import Event, Snapshot, Stamped

DEFAULT_MAX_EVENTS: Final = 16_384
"""About 4 MB a listener that sleeps; a few seconds of the fullest load."""


@frozen(kw_only=True)
class SubscriptionStatistics:
    """What one listener was told."""

    name: str
    delivered: int
    """Taken out of the queue."""
    dropped: int
    waiting: int


class Subscription(AsyncIterator[Stamped]):
    """One listener's queue. Made by :meth:`EventBus.subscribe`; for one task at a time."""

    def __init__(self, name: str, *, max_events: int, kinds: Collection[type] | None) -> None:
        self.dropped = 0
        """Events that this listener was too slow for."""
        self._name = name
        self._kinds = None if kinds is None else frozenset(kinds)
        self._queue: deque[Stamped] = deque(maxlen=max_events)
        self._delivered = 0
        self._waiter: trio.Event | None = None

    def __repr__(self) -> str:
        return f"<Subscription {self._name!r}, {len(self._queue)} waiting, {self.dropped} dropped>"

    def statistics(self) -> SubscriptionStatistics:
        """A snapshot."""
        return SubscriptionStatistics(
            name=self._name, delivered=self._delivered, dropped=self.dropped, waiting=len(self._queue)
        )

    def put(self, stamped: Stamped) -> None:
        """For the bus: here is an event. Never raises, never waits."""
        if self._kinds is not None and type(stamped.event) not in self._kinds:
            return
        if len(self._queue) == self._queue.maxlen:
            self.dropped += 1  # the deque itself lets the oldest go
        self._queue.append(stamped)
        if self._waiter is not None:
            self._waiter.set()
            self._waiter = None

    def take_nowait(self, at_most: int | None = None) -> list[Stamped]:
        """What waits, oldest first; may be empty."""
        count = len(self._queue) if at_most is None else min(at_most, len(self._queue))
        self._delivered += count
        return [self._queue.popleft() for _ in range(count)]

    async def receive_some(self, at_most: int | None = None, *, linger_s: float = 0.0) -> list[Stamped]:
        """Wait until something waits, and take it: at least one event, oldest first.

        Cancellation: atomic.

        Args:
            at_most: events to take; ``None``: all that wait.
            linger_s: how long the first of them waits for company: who shows them to people need not be woken
                for each.
        """
        await trio.lowlevel.checkpoint()
        while not self._queue:
            self._waiter = trio.Event()
            await self._waiter.wait()
        if linger_s > 0:
            await trio.sleep(linger_s)
        return self.take_nowait(at_most)

    def __aiter__(self) -> Subscription:
        """Itself."""
        return self

    async def __anext__(self) -> Stamped:
        """The next event. Never ends by itself.

        Cancellation: atomic.
        """
        return (await self.receive_some(1))[0]


class EventBus:
    """Where a runtime's events come together.

    Args:
        clock: of :attr:`Stamped.at_s`.
        wall_clock: of :attr:`Snapshot.unix_time_s`.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = trio.current_time,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.listening = False
        """Somebody does. Publishers ask before they make an event."""
        self._clock, self._wall_clock = clock, wall_clock
        self._sequence = 0
        self._dropped = 0  # by listeners that have left
        self._numbers = 0
        self._subscriptions: dict[Subscription, None] = {}
        self._alive: dict[Hashable, tuple[float, Event]] = {}

    def __repr__(self) -> str:
        return f"<EventBus {len(self._subscriptions)} listeners, {self._sequence} events>"

    @property
    def sequence(self) -> int:
        """The number of the last event."""
        return self._sequence

    @property
    def dropped(self) -> int:
        """Events that listeners were too slow for, in all."""
        return self._dropped + sum(each.dropped for each in self._subscriptions)

    def statistics(self) -> tuple[SubscriptionStatistics, ...]:
        """Of each listener that is here now."""
        return tuple(each.statistics() for each in self._subscriptions)

    def next_number(self) -> int:
        """A number that was not given before: the name of something that has none."""
        self._numbers += 1
        return self._numbers

    def publish(self, event: Event) -> None:
        """Tell whoever listens. Synchronous; never raises, never waits."""
        if not self.listening:
            return
        self._sequence += 1
        stamped = Stamped(self._sequence, self._clock(), event)
        for subscription in self._subscriptions:
            subscription.put(stamped)

    def begin(self, key: Hashable, event: Event) -> None:
        """Publish the beginning of something that lasts, and keep it for snapshots until :meth:`end`."""
        self._alive[key] = (self._clock(), event)
        self.publish(event)

    def end(self, key: Hashable, event: Event) -> None:
        """Publish its end."""
        self._alive.pop(key, None)
        self.publish(event)

    @asynccontextmanager
    async def subscribe(
        self,
        name: str = "listener",
        *,
        max_events: int = DEFAULT_MAX_EVENTS,
        kinds: Collection[type] | None = None,
    ) -> AsyncIterator[Subscription]:
        """Listen while the body runs.

        Cancellation: atomic.

        Args:
            name: for statistics.
            max_events: events that may wait; one more drops the oldest.
            kinds: event classes to be told of; ``None``: all.
        """
        await trio.lowlevel.checkpoint()
        with self.subscribed(name, max_events=max_events, kinds=kinds) as subscription:
            yield subscription

    @contextmanager
    def subscribed(
        self,
        name: str = "listener",
        *,
        max_events: int = DEFAULT_MAX_EVENTS,
        kinds: Collection[type] | None = None,
    ) -> Iterator[Subscription]:
        """The same for synchronous code. See :meth:`subscribe`."""
        subscription = Subscription(name, max_events=max_events, kinds=kinds)
        self._subscriptions[subscription] = None
        self.listening = True
        try:
            yield subscription
        finally:
            del self._subscriptions[subscription]
            self._dropped += subscription.dropped
            self.listening = bool(self._subscriptions)

    def snapshot(self, present: Iterable[tuple[float, Event]] = ()) -> Snapshot:
        """The present state as events.

        Args:
            present: what the caller knows to be alive, each with the moment of its event, in an order in
                which they can be applied. It comes after what the bus itself knows.
        """
        sequence = self._sequence
        known = [*self._alive.values(), *present]
        return Snapshot(
            sequence=sequence,
            at_s=self._clock(),
            unix_time_s=self._wall_clock(),
            events=tuple(Stamped(sequence, at_s, event) for at_s, event in known),
        )


def bus_of(executor: object) -> EventBus:
    """The bus of whatever is used as an executor; one that nobody hears, if it has none."""
    bus = getattr(executor, "bus", None)
    return bus if isinstance(bus, EventBus) else EventBus()
