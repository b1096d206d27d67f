"""A daemon without processes: the real session and pump, leases, and slots in memory.

For tests under the virtual clock. It keeps the promises of the real one: leases with epochs, one call after
another in a slot, limits, cancellation, wiped workspaces, sessions that outlive their links. The suite in
``daemon_conformance.py`` runs against both. What its slots can run is in ``fake_shell.py``.

While :meth:`FakeDaemon.running` runs (``open_memory_backend`` sees to it) sessions are kept for
``lease_grace_s`` after their link was lost. Otherwise there is nowhere to keep them: they end with the link.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import trio

from hermes_trio.errors import (
    BrokenLinkError,
    HermesTrioError,
    InvalidInputError,
    Provenance,
    RemoteProtocolError,
)
from hermes_trio.link.background import open_background_nursery
from hermes_trio.link.message import MessageLink
from hermes_trio.link.pump import Pump, PumpConfig
from hermes_trio.link.stream import OutgoingStream
from hermes_trio.testing.fake_shell import FakeCall, FakeOutcome, FakeSlot
from hermes_trio.testing.links import open_memory_links
from hermes_trio.wire.codec import FrameDecoder, structure_arguments, unstructure
from hermes_trio.wire.frames import (
    TRACEPARENT_FEATURE,
    Call,
    CallId,
    Cancel,
    Credit,
    Epoch,
    Goodbye,
    Hello,
    Limits,
    SessionId,
    SlotId,
)
from hermes_trio.wire.operations import Operation, SlotAcquired, SlotReleaseArguments, SlotReleased
from hermes_trio.wire.session import Event, LinkState, Session

__all__ = ["FakeCall", "FakeDaemon", "FakeOutcome", "FakeSlot"]

Script = Callable[[Call], FakeOutcome | None]


class FakeDaemon:
    """Slots in memory. Any number of links may be served at once.

    Args:
        slots: how many.
        epoch: the life it pretends to be in.
        pump: how links are driven.
        lease_grace_s: how long a session outlives its last link.
        script: asked about every call as its frame is read; what it returns is the answer, ``None`` lets it
            run.

    Attributes:
        history: every call that was started, as ``(trajectory id, operation, arguments)``.
        leases: every lease, as ``(slot, epoch, "leased" or "returned")``.
        links: the links being served; break one to see what its peer makes of it.
        absent: what dialling raises now, if anything.
    """

    def __init__(
        self,
        *,
        slots: int = 4,
        epoch: int = 1,
        pump: PumpConfig | None = None,
        lease_grace_s: float = 10.0,
        script: Script = lambda _call: None,
    ) -> None:
        names = [SlotId(f"fake_{index}") for index in range(slots)]
        self.slots = {name: FakeSlot(name) for name in names}
        self.epoch = Epoch(epoch)
        self.history: list[tuple[str, str, dict[str, object]]] = []
        self.leases: list[tuple[SlotId, int, str]] = []
        self.links: list[MessageLink] = []
        self.script = script
        self.absent: HermesTrioError | None = None
        self.draining = False
        self.lease_grace_s = lease_grace_s
        self.pump = pump or PumpConfig()
        self._free = deque(names)
        self.waiting: deque[trio.Event] = deque()
        self._sessions: dict[SessionId, _FakePeer] = {}
        self._nursery: trio.Nursery | None = None  # while it runs

    def __repr__(self) -> str:
        return f"<FakeDaemon {len(self._free)} of {len(self.slots)} slots free, {len(self.links)} links>"

    @property
    def free(self) -> int:
        """Slots that nobody holds."""
        return len(self._free)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep sessions while the body runs; end them with it.

        Cancellation: atomic.
        """
        async with open_background_nursery() as nursery:
            self._nursery = nursery
            try:
                yield
            finally:
                self._nursery = None

    def kill(self) -> None:
        """Die as by SIGKILL and be started again at once: links are cut, sessions and files are gone."""
        self.epoch = Epoch(self.epoch + 1)
        for peer in list(self._sessions.values()):
            peer.end()
        self._sessions.clear()

    def drain(self, grace_s: float) -> None:
        """Give no new leases, and say so to those who are there."""
        self.draining = True
        for peer in self._sessions.values():
            peer.drain(grace_s)

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[MessageLink]:
        """A new link to this daemon, served while the body runs.

        Cancellation: atomic.

        Raises:
            HermesTrioError: ``absent``.
        """
        absent = self.absent
        if absent is not None:
            await trio.lowlevel.checkpoint()
            raise absent
        ours, theirs = open_memory_links()
        async with open_background_nursery() as nursery:
            await nursery.start(self.serve, theirs)
            yield ours

    async def serve(
        self, link: MessageLink, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve one link until it ends.

        Cancellation: atomic.
        """
        task_status.started()
        self.links.append(link)
        try:
            with suppress(BrokenLinkError, RemoteProtocolError):
                await self._serve(link, await _read_hello(link))
        finally:
            self.links.remove(link)
            await link.aclose()

    async def _serve(self, link: MessageLink, hello: Hello) -> None:
        peer = self._sessions.get(hello.session_id)
        if peer is not None and not peer.is_over:
            await peer.hold(link, hello)
            return
        peer = self._sessions[hello.session_id] = _FakePeer(self, hello)
        if self._nursery is not None:
            self._nursery.start_soon(self._live, peer)
            await peer.hold(link, hello)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._live, peer)
            await peer.hold(link, hello)
            peer.end()

    async def _live(self, peer: _FakePeer) -> None:
        try:
            await peer.live()
        finally:
            if self._sessions.get(peer.session_id) is peer:
                del self._sessions[peer.session_id]
            for slot in self.slots.values():
                if slot.owner == peer.owner:
                    self._put_back(slot, reset=True)

    async def run_call(self, peer: _FakePeer, running: FakeCall) -> FakeOutcome:
        """Do what a call asks for.

        Cancellation: atomic; a command that is cancelled has had its effects up to there.
        """
        await trio.lowlevel.checkpoint()
        call = running.call
        self.history.append((call.trajectory_id, call.operation, dict(call.arguments)))
        if call.operation == Operation.SLOT_ACQUIRE:
            return await self._acquire(peer.owner)
        slot = self.slots[call.lease.slot] if call.lease else None
        if slot is None or not slot.check(call.lease):
            return FakeOutcome(Provenance.SANDBOX_LOST, "stale lease")
        if call.operation == Operation.SLOT_RELEASE:
            arguments = structure_arguments(SlotReleaseArguments, call.arguments)
            return await self._release(slot, reset=arguments.reset)
        while slot.queue[0] is not running:
            await slot.moved.wait()
        return await slot.run(call, _into_nowhere if running.output is None else running.emit)

    def enqueue(self, running: FakeCall) -> None:
        """A call takes its place in its slot's queue; synchronously, when its frame is read."""
        call = running.call
        if call.lease is not None and call.operation != Operation.SLOT_RELEASE:
            self.slots[call.lease.slot].queue.append(running)

    def dequeue(self, running: FakeCall) -> None:
        """A call is over, however it ended."""
        lease = running.call.lease
        slot = self.slots[lease.slot] if lease else None
        if slot is not None and running in slot.queue:
            slot.queue.remove(running)
            slot.moved.set()
            slot.moved = trio.Event()

    async def _acquire(self, owner: str) -> FakeOutcome:
        await trio.lowlevel.checkpoint()
        while not (self._free or self.draining):
            turn = trio.Event()
            self.waiting.append(turn)
            await turn.wait()
        if self.draining:
            return FakeOutcome(Provenance.UNAVAILABLE, "this daemon is draining")
        slot = self.slots[self._free.popleft()]
        slot.owner, slot.epoch = owner, slot.epoch + 1
        self.leases.append((slot.name, slot.epoch, "leased"))
        return FakeOutcome(data=unstructure(SlotAcquired(slot=slot.name, epoch=slot.epoch)))

    async def _release(self, slot: FakeSlot, *, reset: bool) -> FakeOutcome:
        await trio.lowlevel.checkpoint()
        for queued in slot.queue:
            queued.scope.cancel()
        while slot.queue:
            await slot.moved.wait()
        self._put_back(slot, reset=reset)
        return FakeOutcome(data=unstructure(SlotReleased(state="ready" if reset else "dirty")))

    def _put_back(self, slot: FakeSlot, *, reset: bool) -> None:
        self.leases.append((slot.name, slot.epoch, "returned"))
        slot.owner = None
        if reset:
            slot.wipe()
        self._free.append(slot.name)
        if self.waiting:
            self.waiting.popleft().set()


class _FakePeer:
    """One session's calls. Its life is that of the real one; see ``sandbox_daemon/server/peer.py``."""

    def __init__(self, daemon: FakeDaemon, hello: Hello) -> None:
        self._daemon = daemon
        self._session = Session.for_daemon(
            hello,
            epoch=daemon.epoch,
            limits=Limits(),
            features=(TRACEPARENT_FEATURE,),
            slots=len(daemon.slots),
            isolation={"level": "none"},
        )
        self.owner = f"{hello.session_id}/{id(self)}"
        self._calls: dict[CallId, FakeCall] = {}
        self._pump = Pump(self._session, on_event=self._on_event, config=daemon.pump)
        self._life = trio.CancelScope()
        self._link_scope = trio.CancelScope()
        self._holding = trio.Lock()
        self._nursery: trio.Nursery | None = None  # there while live() runs
        self._left = False

    @property
    def session_id(self) -> SessionId:
        return self._session.session_id

    @property
    def is_over(self) -> bool:
        return self._life.cancel_called or self._session.state is LinkState.OVER

    def end(self) -> None:
        """Now, link and all."""
        self._life.cancel()
        self._link_scope.cancel()

    def drain(self, grace_s: float) -> None:
        """Say so; who waits for a slot waits elsewhere."""
        self._pump.post(lambda session: session.drain(grace_s))
        while self._daemon.waiting:
            self._daemon.waiting.popleft().set()

    async def live(self) -> None:
        async with trio.open_nursery() as self._nursery:
            with self._life:
                await trio.sleep_forever()
            self._nursery.cancel_scope.cancel()

    async def hold(self, link: MessageLink, hello: Hello) -> None:
        self._link_scope.cancel()
        async with self._holding:
            if self.is_over:
                return
            try:
                self._session.accept(hello)
                self._life.deadline = math.inf
                with trio.CancelScope() as self._link_scope, suppress(BrokenLinkError, RemoteProtocolError):
                    await self._pump.run(link)
            finally:
                self._session.link_lost()
                self._life.deadline = trio.current_time() + self._daemon.lease_grace_s
                if self._left:
                    self._life.cancel()

    def _on_event(self, event: Event) -> None:
        match event:
            case Call() if (scripted := self._daemon.script(event)) is not None:
                self._answer(event, scripted)
            case Call():
                output = OutgoingStream(self._pump, event) if event.output_credit else None
                running = self._calls[event.call_id] = FakeCall(event, output)
                self._daemon.enqueue(running)
                assert self._nursery is not None
                self._nursery.start_soon(self._run, running)
            case Cancel():
                if event.call_id in self._calls:
                    self._calls[event.call_id].scope.cancel()
            case Credit():
                creditor = self._calls.get(event.call_id)
                if creditor is not None and creditor.output is not None:
                    creditor.output.more()
            case Goodbye():
                self._left = True
                raise BrokenLinkError("the executor said goodbye")
            case _:
                pass

    async def _run(self, running: FakeCall) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        call_id = running.call.call_id
        outcome = FakeOutcome(Provenance.CANCELLED, "cancelled", {"killed": True})
        try:
            with running.scope:
                if running.output is not None:
                    self._pump.post(lambda session: session.accepted(call_id))
                done = await self._daemon.run_call(self, running)
                if running.output is not None:  # else what is done is done: no cancel comes in between
                    await running.output.wait_taken()
                outcome = done
        except InvalidInputError as exc:
            outcome = FakeOutcome(Provenance.INVALID_REQUEST, str(exc))
        finally:
            running.close()
            self._daemon.dequeue(running)
            del self._calls[call_id]
        self._answer(running.call, outcome)

    def _answer(self, call: Call, outcome: FakeOutcome) -> None:
        self._pump.post(
            lambda session: session.result(
                call.call_id,
                outcome.provenance,
                error=outcome.error,
                data=outcome.data,
                segments=tuple(len(part) for part in outcome.parts),
                payload=b"".join(outcome.parts),
            ),
            lane=call.trajectory_id,
        )


async def _read_hello(link: MessageLink) -> Hello:
    """The first frame, however it was cut into messages."""
    decoder = FrameDecoder(Limits().max_message_bytes)
    while True:
        for _, hello in decoder.feed(await link.receive_message(), at_most=1):
            if isinstance(hello, Hello):
                return hello
            raise RemoteProtocolError("the link does not begin with a hello")


async def _into_nowhere(_data: bytes) -> None:
    """Output that nobody asked to have streamed. Cancellation: atomic."""
    await trio.lowlevel.checkpoint()
