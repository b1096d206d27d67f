"""The hub: listens to an executor while somebody watches, and keeps the live state that all watchers share.

Theory of operation. While nobody watches, the hub is no listener of the bus, and the console costs nothing.
The first watcher makes it one: it takes a snapshot, applies what has happened since, and goes on so. It is a
single task. It takes events in small batches with a pause between them, so that a flood costs the loop a few
milliseconds at a time, and so that a watcher's message tells of many changes at once. Numbers that are
missing (the bus has dropped some) mean another snapshot.

What no event tells is looked up once a second, as long as somebody watches: the nurseries that calls run
under, the traffic of the links, the processes of calls that have been running for a while, and the
recordings of slots' terminals.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Never

import orjson
import trio

from hermes_trio.console.delta import Feeds, Watcher
from hermes_trio.console.feed import Feed, line_of
from hermes_trio.console.fetching import Fetching
from hermes_trio.console.recordings import Recordings
from hermes_trio.console.stacks import nursery_of
from hermes_trio.console.state import LiveState
from hermes_trio.console.wiretap import WireTap
from hermes_trio.errors import HermesTrioError
from hermes_trio.executor.executor import Executor
from hermes_trio.telemetry.bus import Subscription
from hermes_trio.telemetry.events import Stamped
from hermes_trio.telemetry.log import get_logger

if TYPE_CHECKING:
    from hermes_trio.console.attach import OpenTerminal

audit = get_logger("hermes_trio.audit")

PAUSE_S: Final = 0.05
"""Between two batches of events."""
MAX_BATCH: Final = 1000
"""Events applied without letting others run."""
MAX_LINES: Final = 50
"""Of a batch, events that are made lines for those who read them: more a second than anybody can."""
SAMPLE_S: Final = 1.0
OLD_CALL_S: Final = 0.5
"""A call that has been at its daemon for so long is worth the question which process it is."""
MAX_ASKED: Final = 16
ASK_LIMIT_S: Final = 5.0


class ConsoleHub:
    """Made by :func:`open_console_hub`.

    Args:
        executor: whose console it is.
        name: how the page calls it.
        open_terminal: how a terminal in a slot is opened; ``None``: not at all.
    """

    def __init__(self, executor: Executor, *, name: str, open_terminal: OpenTerminal | None = None) -> None:
        self.executor = executor
        self.name = name
        self.state = LiveState()
        self.feeds = Feeds(events=Feed(), wire=Feed())
        self.recordings = Recordings()
        self.fetching = Fetching(executor, self.recordings)
        self.open_terminal = open_terminal
        self._wiretap = WireTap(self.feeds.wire)
        self._is_tapped = False
        self._watchers: dict[Watcher, None] = {}
        self._somebody = trio.Event()
        self._nobody = trio.Event()
        self._fresh = trio.Event()
        self._sequence = 0

    def __repr__(self) -> str:
        return f"<ConsoleHub {self.name!r}, {len(self._watchers)} watchers, {self.state!r}>"

    @property
    def watchers(self) -> int:
        """Connections that watch now."""
        return len(self._watchers)

    @contextmanager
    def watched(self) -> Iterator[Watcher]:
        """A watcher, for whom the state is kept up while the block runs."""
        watcher = Watcher()
        if not self._watchers:
            self._nobody = trio.Event()
        self._watchers[watcher] = None
        self._somebody.set()
        try:
            yield watcher
        finally:
            del self._watchers[watcher]
            if not self._watchers:
                self._somebody = trio.Event()
                self._nobody.set()

    async def wait_fresh(self) -> None:
        """Wait until the state is that of now. Only inside :meth:`watched`.

        Cancellation: atomic.
        """
        await self._fresh.wait()

    def note(self, who: str, action: str, target: Mapping[str, Any], *, outcome: str) -> None:
        """Write what a person has done to the audit log, and to the events."""
        told = orjson.dumps(dict(target)).decode()
        audit.info("a console was used", who=who, action=action, target=told, outcome=outcome)
        trajectory = str(target.get("trajectory", ""))
        call = target.get("call")
        number = call if isinstance(call, int) else None
        text = f"{action} {told} by {who}: {outcome}"
        self.feeds.events.add([round(trio.current_time(), 3), "audit", trajectory, number, text, "warning"])

    # --- the task -------------------------------------------------------------------------------------

    async def run(self) -> Never:
        """Keep the state up whenever somebody watches.

        Cancellation: atomic.
        """
        while True:
            await self._somebody.wait()
            async with self.executor.events("console") as events, trio.open_nursery() as nursery:
                nursery.start_soon(self._ask_on)
                await self._follow(events)
                nursery.cancel_scope.cancel()
            self._tap_while_read()
            self._fresh = trio.Event()

    async def _follow(self, events: Subscription) -> None:
        await trio.lowlevel.checkpoint()
        self._begin()
        sampled_at = trio.current_time()
        self._look(sampled_at)
        self._fresh.set()
        while self._watchers:
            with trio.move_on_after(PAUSE_S):
                await self._nobody.wait()
            self._take(events.take_nowait(MAX_BATCH))
            await trio.lowlevel.checkpoint()
            self._tap_while_read()
            now = trio.current_time()
            if now - sampled_at >= SAMPLE_S:
                sampled_at = now
                self._look(now)

    async def _ask_on(self) -> Never:
        """What no event tells: a slot's processes, and what its terminals print."""
        while True:
            await trio.sleep(SAMPLE_S)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._count_processes)
                nursery.start_soon(self.fetching.fetch_some)

    def _begin(self) -> None:
        snapshot = self.executor.snapshot()
        self.state.begin(snapshot)
        self._sequence = snapshot.sequence

    def _take(self, batch: list[Stamped]) -> None:
        apply, events, calls = self.state.apply, self.feeds.events, self.state.calls
        are_read = any("events" in watcher.sections for watcher in self._watchers)
        told_from = max(0, len(batch) - MAX_LINES) if are_read else len(batch)
        events.skip(told_from)
        for at, stamped in enumerate(batch):
            if stamped.sequence <= self._sequence:
                continue  # the snapshot knows it
            if stamped.sequence != self._sequence + 1:
                self._begin()
                if stamped.sequence <= self._sequence:
                    continue
            self._sequence = stamped.sequence
            if at >= told_from:
                events.add(line_of(stamped, calls))
            apply(stamped)
        self._place_callers()

    def _tap_while_read(self) -> None:
        """The links are tapped as long as somebody looks at what they carry."""
        is_read = any("wire" in watcher.sections for watcher in self._watchers)
        if is_read is not self._is_tapped:
            self._is_tapped = is_read
            self.executor.tap_wire(self._on_message if is_read else None)

    def _on_message(self, daemon: str, is_sent: bool, message: bytes) -> None:
        self._wiretap.take(daemon, is_sent, message, now=trio.current_time())

    def _look(self, now: float) -> None:
        """What no event tells."""
        self.state.sample(now)
        for name, link in self.executor.statistics().links.items():
            traffic = {
                "queued": link.queued,
                "bytes_sent": link.bytes_sent,
                "bytes_received": link.bytes_received,
            }
            self.state.carry(name, traffic)

    def _place_callers(self) -> None:
        """A task can be asked only while it waits for its call: so this is done often."""
        unseen = self.state.unplaced
        for live in self.executor.live_calls() if unseen else ():
            if live.trajectory_id in unseen and live.task is not None:
                self.state.place(live.trajectory_id, nursery_of(live.task))

    async def _count_processes(self) -> None:
        """Ask the daemons for the processes of calls that have been running for a while, a few at a time."""
        await trio.lowlevel.checkpoint()
        asked = self.state.without_process(trio.current_time() - OLD_CALL_S)[:MAX_ASKED]
        with trio.move_on_after(ASK_LIMIT_S):
            async with trio.open_nursery() as nursery:
                for trajectory in asked:
                    nursery.start_soon(self._ask_processes, trajectory)

    async def _ask_processes(self, trajectory: str) -> None:
        report = None
        # It may just have given its slot back, or its daemon may have gone.
        with suppress(HermesTrioError):
            report = await self.executor.slot_processes(trajectory)
        if report is not None:
            found = list(zip(report.pids, report.ages_s, report.commands, strict=False))
            self.state.found_processes(trajectory, found, now=trio.current_time())
        await trio.lowlevel.checkpoint()

    def welcome(self) -> dict[str, Any]:
        """The first message to a watcher."""
        return {
            "t": "welcome",
            "version": 1,
            "now": trio.current_time(),
            "wall": time.time(),
            "name": self.name,
        }


@asynccontextmanager
async def open_console_hub(
    executor: Executor, *, name: str = "hermes-trio", open_terminal: OpenTerminal | None = None
) -> AsyncIterator[ConsoleHub]:
    """A hub that listens while the body runs.

    Cancellation: atomic.

    Args:
        executor: whose console it is.
        name: how the page calls it.
        open_terminal: see :class:`ConsoleHub`.
    """
    hub = ConsoleHub(executor, name=name, open_terminal=open_terminal)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.run)
        yield hub
        nursery.cancel_scope.cancel()
