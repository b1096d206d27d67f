"""What runs in a fake slot: a shell of a few words, files in memory, and a ledger.

The words: ``true``, ``false``, ``echo TEXT``, ``echo TEXT >> FILE``, ``cat FILE``, ``sleep SECONDS``,
``exit CODE``, ``head -c BYTES /dev/zero``; ``a && b`` runs one after the other. Anything else is exit status
127. All of it means the same to a real shell.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256

import trio
from attrs import define, field

from hermes_trio.errors import Provenance
from hermes_trio.link.stream import OutgoingStream
from hermes_trio.wire.codec import structure_arguments, unstructure
from hermes_trio.wire.frames import Call, Lease, SlotId
from hermes_trio.wire.listing import EntryKind, ListedEntry, pack_entry
from hermes_trio.wire.operations import (
    BashArguments,
    BashReport,
    DownloadArguments,
    DownloadReport,
    FileFailure,
    ListArguments,
    ListReport,
    Operation,
    Packing,
    ReadFileArguments,
    ReadFileReport,
    WriteFileArguments,
    WriteFileReport,
)

_PIECE = bytes(64 * 1024)

Emit = Callable[[bytes], Awaitable[None]]
"""Takes a piece of standard output; waits while nobody takes it."""


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
    output: OutgoingStream | None = None
    """Of a caller who wants output as it comes."""
    scope: trio.CancelScope = field(factory=trio.CancelScope)

    async def emit(self, data: bytes) -> None:
        """Print; wait as a writer waits on a full pipe. Cancellation: atomic."""
        await trio.lowlevel.checkpoint()
        assert self.output is not None
        room = trio.Event()
        self.output.resume = room.set
        if not self.output.feed(3 if self.call.operation == Operation.DOWNLOAD else 1, data):
            await room.wait()

    def close(self) -> None:
        """It is over."""
        if self.output is not None:
            self.output.close()


@define
class FakeSlot:
    """One workspace."""

    name: SlotId
    epoch: int = 0
    owner: str | None = None
    files: dict[str, bytes] = field(factory=dict)
    ran: list[str] = field(factory=list)
    """The ledger: every command that was started, in order. A reset does not touch it."""
    queue: list[FakeCall] = field(factory=list)
    """Calls in the order of their frames; the first one runs."""
    moved: trio.Event = field(factory=trio.Event)

    def check(self, lease: Lease | None) -> bool:
        """Whether this lease is the one in force."""
        return lease is not None and self.owner is not None and lease.epoch == self.epoch

    def wipe(self) -> None:
        """Nothing of the last trajectory stays."""
        self.owner = None
        self.files.clear()

    async def run(self, call: Call, emit: Emit) -> FakeOutcome:
        """Do what a call of this slot asks for.

        Cancellation: atomic; a command that is cancelled has had its effects up to there.

        Raises:
            InvalidInputError: its arguments are none.
        """
        await trio.lowlevel.checkpoint()
        match call.operation:
            case Operation.BASH:
                command = structure_arguments(BashArguments, call.arguments).command
                return await self._bash(command, call.limit_s or 600.0, emit)
            case Operation.READ_FILE:
                return self._read(structure_arguments(ReadFileArguments, call.arguments))
            case Operation.WRITE_FILE:
                return self._write(structure_arguments(WriteFileArguments, call.arguments), call.payload)
            case Operation.DOWNLOAD:
                return await self._download(structure_arguments(DownloadArguments, call.arguments), emit)
            case Operation.LIST:
                return self._list(structure_arguments(ListArguments, call.arguments))
            case Operation.SLOT_QUIESCE:
                return FakeOutcome()
            case _:
                return FakeOutcome(Provenance.UNAVAILABLE, f"operation '{call.operation}' is not offered")

    def _write(self, arguments: WriteFileArguments, content: bytes) -> FakeOutcome:
        before = self.files.get(arguments.path, b"") if arguments.append else b""
        self.files[arguments.path] = before + content
        return FakeOutcome(data=unstructure(WriteFileReport(written_bytes=len(before + content))))

    def _read(self, arguments: ReadFileArguments) -> FakeOutcome:
        """Whole, or by bytes."""
        content = self.files.get(arguments.path)
        if content is None:
            return _no_file(arguments.path)
        if arguments.offset is not None:
            end = arguments.offset + arguments.max_bytes
            report = ReadFileReport(file_bytes=len(content), truncated=end < len(content))
            return FakeOutcome(data=unstructure(report), parts=(content[arguments.offset : end],))
        return FakeOutcome(data=unstructure(ReadFileReport(file_bytes=len(content))), parts=(content,))

    async def _download(self, arguments: DownloadArguments, emit: Emit) -> FakeOutcome:
        """Files only: nothing here makes archives."""
        content = self.files.get(arguments.path)
        if content is None or arguments.packing is not Packing.FILE:
            await trio.lowlevel.checkpoint()
            return _no_file(arguments.path)
        end = None if arguments.max_bytes is None else arguments.offset + arguments.max_bytes
        part = content[arguments.offset : end]
        await emit(part)
        report = DownloadReport(
            sent_bytes=len(part),
            sent_sha256=sha256(part).hexdigest(),
            file_bytes=len(content),
            mode=0o644,
            mtime_ns=0,
            sha256=sha256(content).hexdigest() if arguments.sha256 else None,
        )
        return FakeOutcome(data=unstructure(report))

    def _list(self, arguments: ListArguments) -> FakeOutcome:
        """All of it, whatever folder is meant."""
        page = [
            ListedEntry(path=path.encode(), kind=EntryKind.FILE, mode=0o644, size=len(content), mtime_ns=0)
            for path, content in sorted(self.files.items())
            if path.encode().hex() > arguments.after_hex
        ]
        told = page[: arguments.max_entries]
        report = ListReport(entries=len(told), truncated=len(told) < len(page))
        return FakeOutcome(data=unstructure(report), parts=(b"".join(map(pack_entry, told)),))

    async def _bash(self, command: str, limit_s: float, emit: Emit) -> FakeOutcome:
        self.ran.append(command)
        run, started = _Command(self, emit), trio.current_time()
        with trio.move_on_after(limit_s) as scope:
            await run.sequence(command)
        return run.outcome(trio.current_time() - started, limit_s if scope.cancelled_caught else None)


def _no_file(path: str) -> FakeOutcome:
    told: dict[str, object] = {"reason": FileFailure.NOT_FOUND.value}
    return FakeOutcome(Provenance.TOOL_ERROR, f"File not found: {path}", told)


@define
class _Command:
    """One command line under way."""

    slot: FakeSlot
    emit: Emit
    printed: int = 0
    kept: bytearray = field(factory=bytearray)
    code: int = 0

    async def sequence(self, command: str) -> None:
        await trio.lowlevel.checkpoint()
        for word, _, rest in (part.strip().partition(" ") for part in command.split("&&")):
            self.code = await self._word(word, rest)
            if self.code:
                return

    async def _word(self, word: str, rest: str) -> int:
        await trio.lowlevel.checkpoint()
        match word:
            case "true" | "false":
                return int(word == "false")
            case "echo":
                return await self._echo(*(part.strip() for part in rest.partition(">>")))
            case "cat":
                content = self.slot.files.get(rest)
                await self._print(content or b"")
                return int(content is None)
            case "head":
                await self._zeros(int(rest.split()[1]))
                return 0
            case "exit":
                return int(rest)
            case "sleep":
                await trio.sleep(float(rest))
                return 0
            case _:
                return 127

    async def _echo(self, text: str, into: str, path: str) -> int:
        line = text.encode() + b"\n"
        if into:
            await trio.lowlevel.checkpoint()
            self.slot.files[path] = self.slot.files.get(path, b"") + line
        else:
            await self._print(line)
        return 0

    async def _zeros(self, left: int) -> None:
        await trio.lowlevel.checkpoint()
        while left > 0:
            await self._print(_PIECE[:left])
            left -= len(_PIECE)

    async def _print(self, data: bytes) -> None:
        self.printed += len(data)
        room = BashArguments(command="").max_output_bytes - len(self.kept)
        self.kept += data[:room]
        await self.emit(data)

    def outcome(self, duration_s: float, passed_limit_s: float | None) -> FakeOutcome:
        """The report, as the real daemon words it."""
        timed_out = passed_limit_s is not None
        report = BashReport(
            exit_code=-1 if timed_out else self.code,
            ending="limit" if timed_out else "exited",
            duration_s=duration_s,
            stdout_bytes=self.printed,
            stderr_bytes=0,
            truncated=self.printed > len(self.kept),
            sandboxed=False,
            network_isolated=False,
            isolation="none",
        )
        outcome = FakeOutcome(data=unstructure(report), parts=(bytes(self.kept), b""))
        if timed_out:
            outcome.provenance = Provenance.LIMIT_EXCEEDED
            outcome.error = f"Command timed out after {passed_limit_s}s"
        elif self.code:
            outcome.provenance = Provenance.TOOL_ERROR
            outcome.error = f"Exit code: {self.code}"
        return outcome
