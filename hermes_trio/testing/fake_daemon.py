"""A daemon without processes: the real session and pump, and a shell that knows five words.

For tests under the virtual clock. It keeps what it is told in memory, and it keeps the promises of the real
one: leases with epochs, one call after another in a slot, limits, cancellation, wiped workspaces. The suite
in ``daemon_conformance.py`` runs against both.

The shell: ``true``, ``false``, ``echo TEXT``, ``sleep SECONDS``, ``exit CODE``; ``a && b`` runs one after the
other. Anything else is exit status 127.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio
from attrs import define, field

from hermes_trio.errors import BrokenLinkError, InvalidInputError, Provenance, RemoteProtocolError
from hermes_trio.link.background import open_background_nursery
from hermes_trio.link.message import MessageLink
from hermes_trio.link.pump import Pump, PumpConfig
from hermes_trio.testing.links import open_memory_links
from hermes_trio.wire.codec import FrameDecoder, structure_arguments, unstructure
from hermes_trio.wire.frames import Call, CallId, Cancel, Epoch, Hello, Lease, Limits, SlotId
from hermes_trio.wire.operations import (
    BashArguments,
    BashReport,
    Operation,
    ReadFileArguments,
    ReadFileReport,
    SlotAcquired,
    SlotReleaseArguments,
    SlotReleased,
    WriteFileArguments,
    WriteFileReport,
)
from hermes_trio.wire.session import Event, Session


@define
class FakeOutcome:
    """What an operation came to; the members of the wire's result."""

    provenance: Provenance = Provenance.OK
    error: str = ""
    data: dict[str, object] = field(factory=dict)
    parts: tuple[bytes, ...] = ()


@define(eq=False)
class FakeCall:
    """One call under way, with the scope that ends it."""

    call: Call
    scope: trio.CancelScope = field(factory=trio.CancelScope)


@define
class FakeSlot:
    """One workspace. ``ran`` is the ledger: every command that was started, in order."""

    name: SlotId
    epoch: int = 0
    owner: str | None = None
    files: dict[str, bytes] = field(factory=dict)
    ran: list[str] = field(factory=list)
    queue: deque[FakeCall] = field(factory=deque)
    """Calls in the order of their frames; the first one runs."""
    moved: trio.Event = field(factory=trio.Event)

    def check(self, lease: Lease | None) -> bool:
        """Whether this lease is the one in force."""
        return lease is not None and self.owner is not None and lease.epoch == self.epoch

    def wipe(self) -> None:
        """Nothing of the last trajectory stays."""
        self.owner = None
        self.files.clear()


class FakeDaemon:
    """Slots in memory. Any number of links may be served at once.

    Args:
        slots: how many.
        epoch: the life it pretends to be in.
        pump: how links are driven.

    Attributes:
        history: every call that was started, as ``(trajectory id, operation, arguments)``.
        links: the links being served; break one to see what its peer makes of it.
    """

    def __init__(self, *, slots: int = 4, epoch: int = 1, pump: PumpConfig | None = None) -> None:
        names = [SlotId(f"fake_{index}") for index in range(slots)]
        self.slots = {name: FakeSlot(name) for name in names}
        self.epoch = Epoch(epoch)
        self.history: list[tuple[str, str, dict[str, object]]] = []
        self.links: list[MessageLink] = []
        self._pump = pump or PumpConfig()
        self._free = deque(names)
        self._waiting: deque[trio.Event] = deque()

    def __repr__(self) -> str:
        return f"<FakeDaemon {len(self._free)} of {len(self.slots)} slots free, {len(self.links)} links>"

    @property
    def free(self) -> int:
        """Slots that nobody holds."""
        return len(self._free)

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[MessageLink]:
        """A new link to this daemon, served while the body runs.

        Cancellation: atomic.
        """
        ours, theirs = open_memory_links()
        async with open_background_nursery() as nursery:
            await nursery.start(self.serve, theirs)
            yield ours

    async def serve(
        self, link: MessageLink, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve one link until it ends; then its calls are over and its slots wiped and free.

        Cancellation: atomic.
        """
        task_status.started()
        [(_, hello)] = FrameDecoder(Limits().max_message_bytes).feed(await link.receive_message())
        assert isinstance(hello, Hello)
        session = Session.for_daemon(
            hello, epoch=self.epoch, limits=Limits(), slots=len(self.slots), isolation={"level": "none"}
        )
        session.accept(hello)
        self.links.append(link)
        try:
            await _FakePeer(self, session, str(hello.session_id), self._pump).run(link)
        finally:
            self.links.remove(link)
            for slot in self.slots.values():
                if slot.owner == hello.session_id:
                    self._put_back(slot, reset=True)

    async def run_call(self, owner: str, running: FakeCall) -> FakeOutcome:
        """Do what a call asks for.

        Cancellation: atomic; a command that is cancelled has had its effects up to there.
        """
        await trio.lowlevel.checkpoint()
        call = running.call
        self.history.append((call.trajectory_id, call.operation, dict(call.arguments)))
        if call.operation == Operation.SLOT_ACQUIRE:
            return await self._acquire(owner)
        slot = self.slots[call.lease.slot] if call.lease else None
        if slot is None or not slot.check(call.lease):
            return FakeOutcome(Provenance.SANDBOX_LOST, "stale lease")
        if call.operation == Operation.SLOT_RELEASE:
            arguments = structure_arguments(SlotReleaseArguments, call.arguments)
            for queued in slot.queue:
                queued.scope.cancel()
            while slot.queue:
                await slot.moved.wait()
            self._put_back(slot, reset=arguments.reset)
            state = "ready" if arguments.reset else "dirty"
            return FakeOutcome(data=unstructure(SlotReleased(state=state)))
        while slot.queue[0] is not running:
            await slot.moved.wait()
        return await self._run_in(slot, call)

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
        while not self._free:
            turn = trio.Event()
            self._waiting.append(turn)
            await turn.wait()
        slot = self.slots[self._free.popleft()]
        slot.owner, slot.epoch = owner, slot.epoch + 1
        return FakeOutcome(data=unstructure(SlotAcquired(slot=slot.name, epoch=slot.epoch)))

    def _put_back(self, slot: FakeSlot, *, reset: bool) -> None:
        slot.owner = None
        if reset:
            slot.wipe()
        self._free.append(slot.name)
        if self._waiting:
            self._waiting.popleft().set()

    async def _run_in(self, slot: FakeSlot, call: Call) -> FakeOutcome:
        await trio.lowlevel.checkpoint()
        match call.operation:
            case Operation.BASH:
                command = structure_arguments(BashArguments, call.arguments).command
                return await _run_command(slot, command, call.limit_s or 600.0)
            case Operation.READ_FILE:
                return _read(slot, structure_arguments(ReadFileArguments, call.arguments))
            case Operation.WRITE_FILE:
                path = structure_arguments(WriteFileArguments, call.arguments).path
                slot.files[path] = call.payload
                return FakeOutcome(data=unstructure(WriteFileReport(written_bytes=len(call.payload))))
            case Operation.SLOT_QUIESCE:
                return FakeOutcome()
            case _:
                return FakeOutcome(Provenance.UNAVAILABLE, f"operation '{call.operation}' is not offered")


class _FakePeer:
    """One session's calls."""

    def __init__(self, daemon: FakeDaemon, session: Session, owner: str, pump: PumpConfig) -> None:
        self._daemon = daemon
        self._owner = owner
        self._calls: dict[CallId, FakeCall] = {}
        self._pump = Pump(session, on_event=self._on_event, config=pump)
        self._nursery: trio.Nursery | None = None  # there while run() runs

    async def run(self, link: MessageLink) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            with suppress(BrokenLinkError, RemoteProtocolError):  # what ends every session
                await self._pump.run(link)
            nursery.cancel_scope.cancel()

    def _on_event(self, event: Event) -> None:
        match event:
            case Call():
                running = self._calls[event.call_id] = FakeCall(event)
                self._daemon.enqueue(running)
                assert self._nursery is not None
                self._nursery.start_soon(self._run, running)
            case Cancel():
                if event.call_id in self._calls:
                    self._calls[event.call_id].scope.cancel()
            case _:
                pass

    async def _run(self, running: FakeCall) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        call_id = running.call.call_id
        outcome = FakeOutcome(Provenance.CANCELLED, "cancelled", {"killed": True})
        try:
            with running.scope:
                outcome = await self._daemon.run_call(self._owner, running)
        except InvalidInputError as exc:
            outcome = FakeOutcome(Provenance.INVALID_REQUEST, str(exc))
        finally:
            self._daemon.dequeue(running)
            del self._calls[call_id]
        self._pump.post(
            lambda session: session.result(
                call_id,
                outcome.provenance,
                error=outcome.error,
                data=outcome.data,
                segments=tuple(len(part) for part in outcome.parts),
                payload=b"".join(outcome.parts),
            )
        )


async def _run_command(slot: FakeSlot, command: str, limit_s: float) -> FakeOutcome:
    slot.ran.append(command)
    started, stdout, code = trio.current_time(), b"", 0
    with trio.move_on_after(limit_s) as scope:
        await trio.lowlevel.checkpoint()
        for word, _, rest in (part.strip().partition(" ") for part in command.split("&&")):
            code, printed = await _run_word(word, rest)
            stdout += printed
            if code:
                break
    report = BashReport(
        exit_code=-1 if scope.cancelled_caught else code,
        ending="limit" if scope.cancelled_caught else "exited",
        duration_s=trio.current_time() - started,
        stdout_bytes=len(stdout),
        stderr_bytes=0,
        truncated=False,
        sandboxed=False,
        network_isolated=False,
        isolation="none",
    )
    parts = (stdout, b"")
    if scope.cancelled_caught:
        text = f"Command timed out after {limit_s}s"
        return FakeOutcome(Provenance.LIMIT_EXCEEDED, text, unstructure(report), parts)
    if code:
        return FakeOutcome(Provenance.TOOL_ERROR, f"Exit code: {code}", unstructure(report), parts)
    return FakeOutcome(data=unstructure(report), parts=parts)


async def _run_word(word: str, rest: str) -> tuple[int, bytes]:
    await trio.lowlevel.checkpoint()
    match word:
        case "true":
            return 0, b""
        case "false":
            return 1, b""
        case "echo":
            return 0, rest.encode() + b"\n"
        case "exit":
            return int(rest), b""
        case "sleep":
            await trio.sleep(float(rest))
            return 0, b""
        case _:
            return 127, b""


def _read(slot: FakeSlot, arguments: ReadFileArguments) -> FakeOutcome:
    content = slot.files.get(arguments.path)
    if content is None:
        return FakeOutcome(Provenance.TOOL_ERROR, f"File not found: {arguments.path}")
    return FakeOutcome(data=unstructure(ReadFileReport(file_bytes=len(content))), parts=(content,))
