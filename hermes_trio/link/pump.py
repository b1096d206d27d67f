"""Runs one session over one link: the only two tasks that touch the link, and the heartbeat.

Theory of operation. Cancelling a websocket's ``send`` half-way tears the frame in silence and takes every
other trajectory's calls on that link with it. So no caller ever sends: callers *post* (a synchronous,
cancellation-proof act), and one writer task packs whatever has been posted into one message, sends it, and
packs again. While a send is under way the next message collects: an idle link sends at once, a busy one
batches by itself, and nobody waits for a window unless it was asked for.

The reader never waits for anybody: it turns bytes into events and hands each one, synchronously, to its
owner. Whoever owns the events must neither block nor raise.

The writer is woken by :meth:`Pump.post` and by whatever the reader left in the session (echoes,
acknowledgements, room in the window).

**Silence.** A peer that has not been heard for one and a half heartbeats is *suspect*: what waits for the
link waits on, because what was handed over to a link that turns out to be dead may have run. Only control
still goes out. After ``dead_after_s`` the link is given up. Both are counted from the last byte heard.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Never

import trio
from attrs import frozen

from hermes_trio.errors import BrokenLinkError, ClosedError, RemoteProtocolError
from hermes_trio.link.message import MessageLink
from hermes_trio.link.outbox import CONTROL, Outbox, Posting
from hermes_trio.wire.session import Event, Session


@frozen(kw_only=True)
class PumpConfig:
    """How a link is driven.

    Args:
        batch_window_s: how long the first posting waits for company. 0: send at once.
        max_batch_size: postings packed into one message at most.
        max_batch_bytes: a message that holds so much takes no further posting. Whoever moves files posts a
            chunk at a time, and takes its next turn behind the others.
        max_queued: postings that may wait for the writer.
        heartbeat_s: how often this side proves that its loop turns; the peer answers each time.
        dead_after_s: silence after which the peer is given up; more than ``suspect_after_s``.
    """

    batch_window_s: float = 0.0
    max_batch_size: int = 200
    max_batch_bytes: int = 1024 * 1024
    max_queued: int = 65_536
    heartbeat_s: float = 5.0
    dead_after_s: float = 20.0

    @property
    def suspect_after_s(self) -> float:
        """Silence after which nothing more is entrusted to the link: an answer to a heartbeat is late."""
        return 1.5 * self.heartbeat_s


@frozen(kw_only=True)
class PumpStatistics:
    """What a pump has done so far."""

    queued: int
    """Postings that wait for the writer."""
    messages_sent: int
    postings_sent: int
    """Divided by ``messages_sent``: the packing achieved."""
    bytes_sent: int
    bytes_received: int


class Pump:
    """Drives a session. Lives as long as the session; :meth:`run` is called once for each link.

    Args:
        session: the protocol's state; touched only from here and by posted functions.
        on_event: receives every event, in order, synchronously.
        on_suspect: hears when the peer becomes suspect (true) and when it is heard again (false).
        on_sent: called, synchronously, when a message was handed to the link whole.
    """

    def __init__(
        self,
        session: Session,
        *,
        on_event: Callable[[Event], None],
        on_suspect: Callable[[bool], None] = lambda _suspect: None,
        on_sent: Callable[[], None] = lambda: None,
        config: PumpConfig | None = None,
    ) -> None:
        self.session = session
        self.suspect = False
        """The peer has missed a heartbeat on the present link."""
        self.tap: Callable[[bool, bytes], None] | None = None
        """Sees each message whole, and whether it is sent (true) or came; must neither block nor raise."""
        self._on_event = on_event
        self._on_suspect = on_suspect
        self._on_sent = on_sent
        self._running = False
        self._config = config or PumpConfig()
        self._outbox = Outbox(max_entries=self._config.max_queued)
        self._work = trio.Event()  # set: the writer has something to look at
        self._idle = trio.Event()  # set: nothing posted that was not handed to the link, or no link
        self._last_heard = 0.0
        self._beats = 0
        self._messages_sent = self._postings_sent = self._bytes_sent = self._bytes_received = 0

    def __repr__(self) -> str:
        return f"<Pump {self._outbox!r} {self.session!r}>"

    def statistics(self) -> PumpStatistics:
        """A snapshot."""
        return PumpStatistics(
            queued=len(self._outbox),
            messages_sent=self._messages_sent,
            postings_sent=self._postings_sent,
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
        )

    def post(self, write: Callable[[Session], object], *, lane: Hashable = CONTROL) -> Posting:
        """Queue something to be written into the session when its turn comes.

        Raises:
            BusyError: too much is queued already.
        """
        posting = self._outbox.put(write, lane=lane)
        self.wake()
        return posting

    def withdraw(self, posting: Posting) -> bool:
        """Take a posting back; False when it has been written already."""
        return self._outbox.withdraw(posting)

    def wake(self) -> None:
        """Tell the writer to look again."""
        if self._idle.is_set() and self._running:
            self._idle = trio.Event()
        self._work.set()

    async def wait_flushed(self) -> None:
        """Wait until everything posted so far has been handed to the link, or the link has ended.

        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint()
        while not self._idle.is_set():
            await self._idle.wait()

    async def run(self, link: MessageLink) -> Never:
        """Drive the session over this link until one of them ends. Always ends by raising.

        Cancellation: poisons the link (the session stays; it may go on over another link).

        Raises:
            BrokenLinkError: the link ended, or the peer was silent for ``dead_after_s``.
            RemoteProtocolError: the peer broke the protocol; it has been told, if it still listened.
        """
        self._last_heard = trio.current_time()
        self._running = True
        self.wake()
        endings: list[BrokenLinkError | RemoteProtocolError] = []

        async def until_over(job: Callable[[MessageLink], Awaitable[Never]]) -> None:
            await trio.lowlevel.checkpoint()
            try:
                await job(link)
            except (BrokenLinkError, RemoteProtocolError) as exc:
                endings.append(exc)
            except ClosedError as exc:
                endings.append(BrokenLinkError(str(exc)))
            nursery.cancel_scope.cancel()  # the first ending is the reason; the others follow from it

        try:
            async with trio.open_nursery() as nursery:
                for job in (self._read, self._write, self._beat):
                    nursery.start_soon(until_over, job)
        finally:
            self._running = self.suspect = False
            self._idle.set()
        if isinstance(endings[0], RemoteProtocolError):
            await self._say_last_words(link)
        raise endings[0]

    async def _read(self, link: MessageLink) -> Never:
        while True:
            data = await link.receive_message()
            self._heard(len(data))
            if self.tap is not None:
                self.tap(False, data)
            for event in self.session.receive_data(data):
                self._on_event(event)
            if self.session.link_error is not None:  # what came before it in these bytes has been heard
                raise self.session.link_error
            if self.session.has_data or len(self._outbox):
                self.wake()

    def _heard(self, size: int) -> None:
        self._last_heard = trio.current_time()
        self._bytes_received += size
        if self.suspect:
            self.suspect = False
            self._on_suspect(False)

    async def _write(self, link: MessageLink) -> Never:
        while True:
            await self._work.wait()
            if self._config.batch_window_s and len(self._outbox):
                await self._gather_company()
            self._work = trio.Event()
            data = self._pack()
            if not data:
                self._rest()
                continue
            self._work.set()  # look again after the send: more may have collected
            self._messages_sent += 1
            self._bytes_sent += len(data)
            if self.tap is not None:
                self.tap(True, data)
            await link.send_message(data)
            self._on_sent()

    def _rest(self) -> None:
        """There was nothing to send: because nothing waits, for want of room, or a batch wrote nothing."""
        if not len(self._outbox):
            self._idle.set()
        elif self.session.room() and not self.suspect:
            self._work.set()

    async def _gather_company(self) -> None:
        """Wait out the batch window, unless the batch is full before."""
        with trio.move_on_after(self._config.batch_window_s):
            await trio.lowlevel.checkpoint()
            while len(self._outbox) < self._config.max_batch_size:
                self._work = trio.Event()
                await self._work.wait()

    def _pack(self) -> bytes:
        """Move what the window and the sizes of a batch allow from the outbox into one message."""
        full_bytes = self.session.unacknowledged_bytes + self._config.max_batch_bytes
        for _ in range(self._config.max_batch_size):
            if self.session.unacknowledged_bytes >= full_bytes or not self.session.room():
                break
            posting = self._outbox.take(control_only=self.suspect)
            if posting is None:
                break
            posting.write(self.session)
            self._postings_sent += 1
        return self.session.data_to_send()

    async def _beat(self, link: MessageLink) -> Never:
        """Prove that this loop turns, and watch the peer's silence."""
        config = self._config
        next_beat = trio.current_time() + config.heartbeat_s
        while True:
            await trio.sleep_until(min(next_beat, self._patience_ends()))
            now = trio.current_time()
            if now >= self._last_heard + config.dead_after_s:
                link.abort()  # parting in good order would wait for an answer from somebody who gives none
                raise BrokenLinkError(f"the peer was silent for {now - self._last_heard:.1f} s")
            if now >= self._patience_ends() and not self.suspect:
                self.suspect = True
                self._on_suspect(True)
            if now >= next_beat:
                next_beat = now + config.heartbeat_s
                self._beats += 1
                self.session.heartbeat(self._beats)
                self.wake()

    def _patience_ends(self) -> float:
        """When silence will next mean something."""
        config = self._config
        return self._last_heard + (config.dead_after_s if self.suspect else config.suspect_after_s)

    async def _say_last_words(self, link: MessageLink) -> None:
        """Hand the session's error frame to the peer, if it takes it within a second."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
            await trio.lowlevel.checkpoint()
            try:
                await link.send_message(self.session.data_to_send())
            except (BrokenLinkError, ClosedError, trio.BusyResourceError):
                return
