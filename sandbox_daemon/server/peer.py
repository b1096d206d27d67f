"""One executor's session on this daemon: frames in, one task for each call, results out.

The reader dispatches synchronously and waits for nobody. A call is a task with a cancel scope of its own; a
cancel frame cancels that scope, and the result that answers it leaves only after the slot pool has shown
that the call's processes are gone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import trio
from attrs import define, field, frozen

from hermes_trio.errors import BrokenLinkError, LocalProtocolError, Provenance, RemoteProtocolError
from hermes_trio.link.message import MessageLink
from hermes_trio.link.pump import Pump, PumpConfig
from hermes_trio.wire.codec import FrameDecoder, encode_frame
from hermes_trio.wire.faults import PeerFault, error_of
from hermes_trio.wire.frames import (
    Call,
    CallId,
    Cancel,
    Epoch,
    ErrorCode,
    Frame,
    Goodbye,
    Hello,
    Lease,
    Limits,
    SessionId,
)
from hermes_trio.wire.operations import Operation
from hermes_trio.wire.session import Event, Session
from sandbox_daemon.server.operations import OFFERED, Operations
from sandbox_daemon.server.turns import Turn, Turnstile
from sandbox_daemon.slots.pool import Outcome, SlotPool, StaleLeaseError

logger = logging.getLogger(__name__)

HELLO_LIMIT_S = 10.0
"""A peer that connects and says nothing is let go."""


MAX_HELD_BYTES = 64 * 1024 * 1024
"""What the running and waiting calls of one session may hold in memory, payloads and texts together."""
MAX_SESSION_ID = 128


@frozen(kw_only=True)
class Host:
    """What all peers of a daemon share.

    Args:
        pool: the slots.
        slots: how many there are.
        epoch: this life of the daemon.
        isolation: what the probe found, as the welcome tells it.
        limits: what this side is ready to take from a peer.
        pump: how links are driven.
    """

    pool: SlotPool
    slots: int
    epoch: Epoch
    isolation: Mapping[str, Any]
    limits: Limits = field(factory=Limits)
    pump: PumpConfig = field(factory=PumpConfig)
    peers: dict[SessionId, Peer] = field(factory=dict, repr=False)
    """Those that are being served now."""
    draining: trio.Event = field(factory=trio.Event, repr=False)
    """Set: no new leases; the daemon is about to stop."""


@define(eq=False)
class _Running:
    """One call under way."""

    call: Call
    turn: Turn | None
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    ended: trio.Event = field(factory=trio.Event)


async def serve_peer(link: MessageLink, *, host: Host) -> None:
    """Serve one link until it ends. When it does, its calls are killed and its slots wiped and freed.

    Cancellation: shielded, at most 25 s (the slot pool's kill and reset): no call and no lease outlives this.

    Args:
        link: a link that has just been accepted.
        host: what all peers share.
    """
    await trio.lowlevel.checkpoint()
    try:
        session = _greet(await _read_hello(link, host.limits), host)
    except BrokenLinkError as exc:
        logger.info("a peer was let go before its hello: %s", exc)
        return
    except RemoteProtocolError as exc:
        logger.warning("a peer was refused: %s", exc)
        await _say_why(link, exc)
        return
    peer = Peer(session, host=host)
    host.peers[session.session_id] = peer
    try:
        await peer.run(link)
    finally:
        del host.peers[session.session_id]
        with trio.CancelScope(shield=True):  # bounded by the pool: each kill and reset has its own limit
            await host.pool.release_owner(session.session_id)


def _greet(hello: Hello, host: Host) -> Session:
    """A session whose welcome is queued.

    Raises:
        RemoteProtocolError: the hello cannot be answered.
    """
    name = hello.session_id
    if not (0 < len(name) <= MAX_SESSION_ID and name.isascii() and name.isprintable()):
        raise PeerFault(f"must be 1 to {MAX_SESSION_ID} printable ASCII characters", path="hello.session_id")
    if name in host.peers:
        raise PeerFault("the session is open on another link", code=ErrorCode.SESSION)
    session = Session.for_daemon(
        hello,
        epoch=host.epoch,
        limits=host.limits,
        features=OFFERED,
        slots=host.slots,
        isolation=host.isolation,
    )
    session.accept(hello)
    return session


class Peer:
    """The calls of one session."""

    def __init__(self, session: Session, *, host: Host) -> None:
        self._host = host
        self._operations = Operations(host.pool, owner=session.session_id)
        self._turnstile = Turnstile()
        self._running: dict[CallId, _Running] = {}
        self._held_bytes = 0  # of calls that run or wait
        self._pump = Pump(session, on_event=self._on_event, config=host.pump)
        self._nursery: trio.Nursery | None = None  # there while run() runs

    def __repr__(self) -> str:
        return f"<Peer {len(self._running)} calls, {self._turnstile!r}, {self._pump!r}>"

    def drain(self, grace_s: float) -> None:
        """Tell the executor that this daemon is about to stop."""
        self._pump.post(lambda session: session.drain(grace_s))

    async def wait_quiet(self) -> None:
        """Wait until no call runs.

        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint()
        while self._running:
            await next(iter(self._running.values())).ended.wait()

    async def run(self, link: MessageLink) -> None:
        """Serve calls until the link ends.

        Cancellation: shielded, at most 3 s (the slot pool's kill ladder).
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await self._pump.run(link)
            except BrokenLinkError as exc:
                logger.info("%r: the link ended: %s", self, exc)
            except RemoteProtocolError as exc:
                logger.warning("%r: the peer broke the protocol: %s", self, exc)
            nursery.cancel_scope.cancel()

    def _on_event(self, event: Event) -> None:
        match event:
            case Call():
                self._start(event)
            case Cancel():
                running = self._running.get(event.call_id)
                if running is not None:
                    running.scope.cancel()
            case Goodbye():
                raise BrokenLinkError("the executor said goodbye")
            case _:
                pass  # heartbeats, and streams that no operation reads yet

    def _start(self, call: Call) -> None:
        assert self._nursery is not None
        if self._host.draining.is_set() and call.operation == Operation.SLOT_ACQUIRE:
            text = "this daemon is draining and gives no new leases"
            self._answer(call, Outcome(provenance=Provenance.UNAVAILABLE, error=text))
            return
        if self._held_bytes + _weight(call) > MAX_HELD_BYTES:
            text = f"this session's calls already hold {self._held_bytes} bytes here (max {MAX_HELD_BYTES})"
            self._answer(call, Outcome(provenance=Provenance.UNAVAILABLE, error=text))
            return
        self._held_bytes += _weight(call)
        turn = self._turnstile.enter(call.lease.slot) if call.lease and Operations.takes_turns(call) else None
        running = self._running[call.call_id] = _Running(call, turn)
        self._nursery.start_soon(self._run, running)

    async def _run(self, running: _Running) -> None:
        """One call, from its frame to its result."""
        outcome = None
        try:
            with running.scope:
                outcome = await self._outcome(running)
        finally:
            if running.turn is not None:
                self._turnstile.leave(running.turn)
            del self._running[running.call.call_id]
            self._held_bytes -= _weight(running.call)
            running.ended.set()
        self._answer(running.call, outcome or self._operations.cancelled(running.call))

    async def _outcome(self, running: _Running) -> Outcome:
        await trio.lowlevel.checkpoint_if_cancelled()
        call, turn = running.call, running.turn
        if turn is not None and not turn.is_now:
            await turn.wait_now()
            self._pump.post(lambda session: session.accepted(call.call_id))
        elif call.operation == Operation.SLOT_RELEASE and call.lease is not None:
            await self._end_calls_of(call.lease)
        try:
            return await self._operations.run(call)
        except StaleLeaseError as exc:
            return Outcome(provenance=Provenance.SANDBOX_LOST, error=str(exc))
        except Exception:
            logger.exception("operation %s failed", call.operation)
            return Outcome(
                provenance=Provenance.INTERNAL_ERROR, error="internal error of the daemon; see its log"
            )

    async def _end_calls_of(self, lease: Lease) -> None:
        """End what runs or waits under a lease that is being given back; a later lease is not meant."""
        await trio.lowlevel.checkpoint()
        theirs = [
            running for running in self._running.values() if running.turn and running.call.lease == lease
        ]
        for running in theirs:
            running.scope.cancel()
        for running in theirs:
            await running.ended.wait()

    def _answer(self, call: Call, outcome: Outcome) -> None:
        def write(session: Session) -> None:
            try:
                _say(session, call, outcome)
            except (
                LocalProtocolError
            ):  # larger than a message: a bound is missing somewhere; the call must end
                logger.exception("the result of operation %s cannot be sent", call.operation)
                text = "the result is too large to be sent"
                _say(session, call, Outcome(provenance=Provenance.INTERNAL_ERROR, error=text))

        self._pump.post(write)


def _weight(call: Call) -> int:
    """Bytes that a call holds here until it is over, near enough."""
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


async def _read_hello(link: MessageLink, limits: Limits) -> Hello:
    """The peer's first frame. Nothing may follow it before our welcome."""
    decoder = FrameDecoder(limits.max_message_bytes)
    frames: list[tuple[int | None, Frame]] = []
    with trio.move_on_after(HELLO_LIMIT_S):
        await trio.lowlevel.checkpoint()
        while not frames:
            frames = decoder.feed(await link.receive_message(), at_most=1)
    match frames:
        case [(None, Hello() as hello)] if not decoder.leftover:
            return hello
        case []:
            raise BrokenLinkError(f"no hello within {HELLO_LIMIT_S} s")
        case _:
            raise RemoteProtocolError("the link does not begin with a hello, alone")


async def _say_why(link: MessageLink, fault: RemoteProtocolError) -> None:
    """Tell a refused peer the reason, and wait a moment for it to read that and close."""
    await trio.lowlevel.checkpoint()
    with suppress(BrokenLinkError), trio.move_on_after(1.0):
        await link.send_message(encode_frame(error_of(fault)))
        await link.receive_message()
