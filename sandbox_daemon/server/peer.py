"""One executor's session on this daemon: frames in, one task for each call, results out.

The reader dispatches synchronously and waits for nobody. A call is a task with a cancel scope of its own; a
cancel frame cancels that scope, and the result that answers it leaves only after the slot pool has shown
that the call's processes are gone.

Theory of operation. A session has a *life*: a cancel scope without a deadline while there is a link, and
with one, ``lease_grace_s`` away, while there is none. Calls are children of the life and know nothing of
links: they run on without one, and their results wait in the outbox and the session's window. When the life
is over the session is unknown at once, then its calls are killed and its slots wiped and freed; only after
that does anybody else get them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Final

import trio
from attrs import define, field

from hermes_trio.errors import BrokenLinkError, LocalProtocolError, Provenance, RemoteProtocolError
from hermes_trio.link.incoming import IncomingStream
from hermes_trio.link.message import MessageLink
from hermes_trio.link.pump import Pump
from hermes_trio.link.stream import OutgoingStream
from hermes_trio.telemetry import traces
from hermes_trio.telemetry.log import get_logger
from hermes_trio.wire.frames import Call, CallId, Cancel, Credit, Goodbye, Hello, Input, Lease, SessionId
from hermes_trio.wire.operations import Operation
from hermes_trio.wire.session import Event, LinkState, Session
from sandbox_daemon.server.beginnings import Beginnings
from sandbox_daemon.server.host import Host
from sandbox_daemon.server.operations import BULK, Operations
from sandbox_daemon.server.telling import note_outcome, told_of
from sandbox_daemon.server.turns import Turn, Turnstile
from sandbox_daemon.slots.pool import Outcome, StaleLeaseError

logger = get_logger(__name__)

BULK_CHUNK: Final = 256 * 1024
BULK_HELD: Final = 1024 * 1024

_DRAINING = Outcome(
    provenance=Provenance.UNAVAILABLE, error="this daemon is draining and gives no new leases"
)
_DRAINED = Outcome(
    provenance=Provenance.SANDBOX_LOST,
    error="the daemon was stopped, and the call did not end in the time that was left",
    data={"killed": True},
)


@define(eq=False)
class _Running:
    """One call under way.

    Attributes:
        weight: bytes that it holds here until it is over, near enough.
        output: of a caller who wants output as it comes.
        source: of an operation that takes input as it comes.
        instead: what to answer when the scope is cancelled for another reason than a cancel frame.
    """

    call: Call
    turn: Turn | None
    output: OutgoingStream | None
    source: IncomingStream | None
    weight: int
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    ended: trio.Event = field(factory=trio.Event)
    instead: Outcome | None = None

    def end(self, instead: Outcome | None = None) -> None:
        """Kill it; its result comes when it is dead."""
        self.instead = self.instead or instead
        self.scope.cancel()


class Peer:
    """The calls of one session.

    Args:
        session: a new one, nothing said yet.
        host: what all sessions share.
        owner: whose leases they are, for the slot pool.
    """

    def __init__(self, session: Session, *, host: Host, owner: str) -> None:
        self._session = session
        self._host = host
        self._owner = owner
        self._operations = Operations(host.pool, owner=owner)
        self._turnstile = Turnstile()
        self._running: dict[CallId, _Running] = {}
        self._beginnings = Beginnings(runs=self._running.__contains__, announce=self._accept)
        self._held_bytes = 0  # of calls that run or wait
        self._unsent_bytes = 0  # of results that wait for the link
        self._sent = trio.Event()  # set, and made anew, when there are fewer of these
        self._pump = Pump(session, on_event=self._on_event, config=host.pump)
        self._life = trio.CancelScope()
        self._nursery: trio.Nursery | None = None  # there while live() runs
        self._link_scope = trio.CancelScope()  # of the present or the last link
        self._holding = trio.Lock()  # one link at a time
        self._links = 0
        self._sent_back: set[Lease] = set()  # slots of which a call was sent back, and none came again
        self._left = False  # goodbye was said
        self._lost: set[Lease] = set()  # those of which the executor was told

    def __repr__(self) -> str:
        linked = "linked" if self.is_linked else "no link"
        return f"<Peer {linked}, {len(self._running)} calls, {self._turnstile!r}, {self._pump!r}>"

    @property
    def session_id(self) -> SessionId:
        """What an executor says to find it again."""
        return self._session.session_id

    @property
    def is_linked(self) -> bool:
        """Whether a link carries it now."""
        return self._holding.locked()

    @property
    def is_over(self) -> bool:
        """Its life has ended, or is about to: no link finds it any more."""
        return self._life.cancel_called or self._session.state is LinkState.OVER

    # --- life -----------------------------------------------------------------------------------------

    async def live(self, *, on_over: Callable[[], None]) -> None:
        """Run calls until the life is over; then leave nothing behind.

        Cancellation: shielded, at most 25 s (the slot pool's kill and reset).

        Args:
            on_over: called when the session is not to be found any more.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                try:
                    with self._life:
                        await self._beginnings.announce_late()
                finally:
                    on_over()
                    self._link_scope.cancel()
                    self._nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):  # bounded by the pool: each kill and reset has its own limit
                await self._host.pool.release_owner(self._owner)

    async def hold(self, link: MessageLink, hello: Hello) -> None:
        """Carry the session over this link until one of them ends. A link that it had is superseded.

        Cancellation: poisons the link.

        Raises:
            RemoteProtocolError: the hello cannot be answered.
        """
        self._session.check_hello(hello)  # else the link that it has goes on
        self._links += 1
        number = self._links
        self._link_scope.cancel()
        async with self._holding:
            if number == self._links and not self.is_over:  # else a newer link waits, or it is too late
                await self._hold(link, hello)

    async def _hold(self, link: MessageLink, hello: Hello) -> None:
        try:
            self._session.accept(hello)
            self._life.deadline = math.inf
            await self._pump_over(link)
        finally:
            self._session.link_lost()
            self._life.deadline = trio.current_time() + self._host.lease_grace_s
            if self._left or not self._session.begun:
                self._life.cancel()

    async def _pump_over(self, link: MessageLink) -> None:
        await trio.lowlevel.checkpoint()
        try:
            with trio.CancelScope() as self._link_scope:
                await self._pump.run(link)
        except BrokenLinkError as exc:
            logger.info("a link ended", peer=self, reason=exc)
        except RemoteProtocolError as exc:
            logger.warning("a peer broke the protocol", peer=self, reason=exc)

    def drain(self, grace_s: float) -> None:
        """Tell the executor that this daemon is about to stop; who waits for a slot waits elsewhere."""
        self._pump.post(lambda session: session.drain(grace_s))
        for running in self._running.values():
            if running.call.operation == Operation.SLOT_ACQUIRE:
                running.end(_DRAINING)

    async def wait_quiet(self) -> None:
        """Wait until no call runs.

        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint()
        while self._running:
            await next(iter(self._running.values())).ended.wait()

    async def leave(self) -> None:
        """End what runs, hand over what is to be said, say goodbye, and end the session.

        Cancellation: abandons; the session ends all the same.
        """
        try:
            for running in self._running.values():
                running.end(_DRAINED)
            await self.wait_quiet()
            await self._pump.wait_flushed()
            self._pump.post(lambda session: session.goodbye("the daemon is stopping"))
            await self._pump.wait_flushed()
        finally:
            self._life.cancel()

    # --- calls ----------------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        match event:
            case Call():
                self._start(event)
            case Cancel():
                running = self._running.get(event.call_id)
                if running is not None:
                    running.end()
            case Credit():
                running = self._running.get(event.call_id)
                if running is not None and running.output is not None:
                    running.output.more()
            case Input():
                running = self._running.get(event.call_id)
                if running is not None and running.source is not None:
                    running.source.hear(event)
            case Goodbye():
                self._left = True
                raise BrokenLinkError("the executor said goodbye")
            case _:
                pass  # heartbeats

    def _start(self, call: Call) -> None:
        assert self._nursery is not None
        if self._host.draining.is_set() and call.operation == Operation.SLOT_ACQUIRE:
            self._answer(call, _DRAINING)
            return
        weight = _weight(call)
        refusal = self._refusal(call, weight) if Operations.takes_turns(call) else None
        if refusal is not None:
            self._answer(call, refusal)
            return
        self._held_bytes += weight
        turn = self._place_of(call)
        output = self._output_of(call) if Operations.streams(call) else None
        source = IncomingStream(self._pump, call) if Operations.takes_input(call) else None
        running = self._running[call.call_id] = _Running(call, turn, output, source, weight)
        self._nursery.start_soon(self._run, running)

    def _output_of(self, call: Call) -> OutgoingStream:
        if call.operation in BULK:
            return OutgoingStream(self._pump, call, chunk_bytes=BULK_CHUNK, high_water_bytes=BULK_HELD)
        return OutgoingStream(self._pump, call)

    def _place_of(self, call: Call) -> Turn | None:
        if call.lease is None or not Operations.takes_turns(call):
            return None
        return self._turnstile.enter(call.lease.slot, shared=Operations.shares_turn(call))

    def _refusal(self, call: Call, weight: int) -> Outcome | None:
        """What a busy daemon answers. Calls of one slot are sent back until the caller has heard of it."""
        assert call.lease is not None
        if call.lease in self._sent_back and not call.again:
            return self._host.admission.again()
        self._sent_back.discard(call.lease)
        refusal = self._host.admission.refusal(
            held_bytes=self._held_bytes + weight, waiting_calls=len(self._running)
        )
        if refusal is not None:
            self._sent_back.add(call.lease)
        return refusal

    async def _run(self, running: _Running) -> None:
        """One call, from its frame to its result."""
        with told_of(running.call) as span:
            outcome = await self._ended(running)
            note_outcome(span, outcome)
        self._tell_lost(running.call.lease)
        self._answer(running.call, outcome)

    async def _ended(self, running: _Running) -> Outcome:
        outcome = None
        try:
            with running.scope:
                outcome = await self._outcome(running)
        finally:
            if running.turn is not None:
                self._turnstile.leave(running.turn)
            if running.output is not None:
                running.output.close()
            del self._running[running.call.call_id]
            self._held_bytes -= running.weight
            running.ended.set()
        return outcome or running.instead or self._operations.cancelled(running.call)

    async def _outcome(self, running: _Running) -> Outcome:
        await trio.lowlevel.checkpoint_if_cancelled()
        call = running.call
        if running.turn is not None:
            await self._wait_turn(running, running.turn)
        elif call.operation == Operation.SLOT_RELEASE and call.lease is not None:
            self._sent_back.discard(call.lease)
            await self._end_calls_of(call.lease)
        try:
            outcome = await self._operations.run(call, sink=running.output, source=running.source)
            if running.output is not None:
                await running.output.wait_taken()
            return outcome
        except StaleLeaseError as exc:
            return Outcome(provenance=Provenance.SANDBOX_LOST, error=str(exc))
        except Exception:
            logger.exception("an operation failed", operation=call.operation)
            return Outcome(
                provenance=Provenance.INTERNAL_ERROR, error="internal error of the daemon; see its log"
            )

    async def _wait_turn(self, running: _Running, turn: Turn) -> None:
        """Until those before it are over, and the results that nobody has taken are not too many."""
        await trio.lowlevel.checkpoint_if_cancelled()
        at_once = turn.is_now and running.output is None and running.source is None
        if not turn.is_now:
            with traces.running("queued"):
                await turn.wait_now()
        while self._unsent_bytes > self._host.max_unsent_bytes:
            await self._sent.wait()
        if at_once:
            self._beginnings.add(running.call.call_id)
        else:
            credit = running.source.window_bytes if running.source is not None else 0
            self._accept(running.call.call_id, input_credit=credit)

    def _accept(self, call_id: CallId, *, input_credit: int = 0) -> None:
        self._pump.post(partial(_say_accepted, call_id=call_id, input_credit=input_credit))

    async def _end_calls_of(self, lease: Lease) -> None:
        """End what runs or waits under a lease that is being given back; a later lease is not meant."""
        await trio.lowlevel.checkpoint()
        theirs = [
            running for running in self._running.values() if running.turn and running.call.lease == lease
        ]
        for running in theirs:
            running.end()
        for running in theirs:
            await running.ended.wait()

    # --- answers --------------------------------------------------------------------------------------

    def _answer(self, call: Call, outcome: Outcome) -> None:
        size = len(outcome.payload)

        def write(session: Session) -> None:
            self._unsent_bytes -= size
            self._sent.set()
            self._sent = trio.Event()
            try:
                _say(session, call, outcome)
            except (
                LocalProtocolError
            ):  # larger than a message: a bound is missing somewhere; the call must end
                logger.exception("a result cannot be sent", operation=call.operation)
                text = "the result is too large to be sent"
                _say(session, call, Outcome(provenance=Provenance.INTERNAL_ERROR, error=text))

        self._unsent_bytes += size
        self._pump.post(write, lane=call.trajectory_id)

    def _tell_lost(self, lease: Lease | None) -> None:
        """A slot that went out of service under its lease is worth a word, once."""
        if lease is None or lease in self._lost or not self._operations.has_lost(lease):
            return
        self._lost.add(lease)
        reason = "it is quarantined: something in it could not be shown dead, or no agent came up"
        self._pump.post(lambda session: session.lease_lost(lease, reason))


def _say_accepted(session: Session, *, call_id: CallId, input_credit: int) -> None:
    session.accepted(call_id, input_credit=input_credit)


def _weight(call: Call) -> int:
    return len(call.payload) + sum(len(text) for text in call.arguments.values() if isinstance(text, str))


def _say(session: Session, call: Call, outcome: Outcome) -> None:
    session.result(
        call.call_id,
        outcome.provenance,
        error=outcome.error,
        data=outcome.data,
        segments=outcome.segments,
        payload=outcome.payload,
    )
