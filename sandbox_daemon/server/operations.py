"""What each operation does: the frame's arguments are checked, the slot pool is asked, the report goes back.

Knows nothing of links and sessions; ``peer.py`` gives it a call and sends what it returns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

import trio

from hermes_trio.errors import InvalidInputError, NoBaseError, NoRoomError, Provenance, UnavailableError
from hermes_trio.wire.codec import structure_arguments, unstructure
from hermes_trio.wire.frames import Call, Lease
from hermes_trio.wire.operations import (
    NO_BASE,
    NO_ROOM,
    BaseBuildArguments,
    BaseListArguments,
    BaseListReport,
    BaseRemoveArguments,
    BaseReport,
    BashArguments,
    DownloadArguments,
    EditFileArguments,
    JobAction,
    JobArguments,
    ListArguments,
    Operation,
    ReadFileArguments,
    SearchArguments,
    SlotAcquireArguments,
    SlotAcquired,
    SlotArchiveReport,
    SlotDiffArguments,
    SlotDiffReport,
    SlotForkArguments,
    SlotForked,
    SlotQuiesced,
    SlotReleaseArguments,
    SlotReleased,
    SlotResetArguments,
    SlotResetReport,
    SlotRestoreArguments,
    SlotSnapshotArguments,
    SlotStatusArguments,
    StatefulArguments,
    TerminalAction,
    TerminalArguments,
    UploadArguments,
    WriteFileArguments,
)
from sandbox_daemon.files.upload import Source
from sandbox_daemon.process.command import Sink
from sandbox_daemon.slots.archiving import Archived
from sandbox_daemon.slots.pool import Outcome, SlotPool, StaleLeaseError

T = TypeVar("T")

MAX_DIFF_ENTRIES = 20_000
DEFAULT_LIMIT_S = 600.0
"""For a command that came without a limit: nothing runs for ever."""


class Operations:
    """The operations that this daemon offers, for one owner of leases.

    Args:
        pool: the slots.
        owner: who asks: the session's id.
    """

    def __init__(self, pool: SlotPool, *, owner: str) -> None:
        self._pool = pool
        self._owner = owner
        self._leases: set[Lease] = set()  # a lease is a right of this session, not of whoever can guess it

    @staticmethod
    def streams(call: Call) -> bool:
        """Whether the caller wants output as it comes, of an operation that has some."""
        return call.output_credit > 0 and call.operation in _STREAMED

    @staticmethod
    def takes_turns(call: Call) -> bool:
        """Whether the call waits for those before it on its slot.

        A release does not: it ends them. A question about them does not either.
        """
        start = _STARTS.get(call.operation)
        if start is not None:  # keys and looks are for what runs meanwhile
            return call.lease is not None and call.arguments.get("action") == start
        return call.lease is not None and call.operation not in _OUT_OF_TURN

    @staticmethod
    def shares_turn(call: Call) -> bool:
        """Whether the call may run beside others of its slot that may too."""
        return call.operation == Operation.BASH and call.arguments.get("parallel") is True

    @staticmethod
    def takes_input(call: Call) -> bool:
        """Whether input frames belong to the call."""
        return call.operation in _FED

    async def run(self, call: Call, *, sink: Sink | None = None, source: Source | None = None) -> Outcome:
        """Run one call.

        Cancellation: shielded, at most 25 s (the slot pool's kill ladder and reset): when this returns or
        raises, nothing of the call is left.

        Args:
            call: what is asked for.
            sink: where a command's output goes as it comes, if somebody wants it.
            source: where its input comes from, if it takes some.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        handler = _HANDLERS.get(call.operation)
        if handler is None:
            text = f"operation {call.operation[:64]!r} is not offered by this daemon"
            return Outcome(provenance=Provenance.UNAVAILABLE, error=text)
        try:
            if source is not None:
                return await _FED[call.operation](self, call, source=source)
            if sink is not None:
                return await _STREAMED[call.operation](self, call, sink=sink)
            return await handler(self, call)
        except InvalidInputError as exc:
            return Outcome(provenance=Provenance.INVALID_REQUEST, error=f"{call.operation}: {exc}")
        except UnavailableError as exc:
            if call.operation not in _OF_WORKSPACES:
                raise
            return Outcome(provenance=Provenance.UNAVAILABLE, error=str(exc), data=_reason(exc))

    def cancelled(self, call: Call) -> Outcome:
        """The outcome of a call whose :meth:`run` was cancelled and is over: is everything of it dead?"""
        killed = call.lease is None or not self.has_lost(call.lease)
        return Outcome(provenance=Provenance.CANCELLED, error="cancelled", data={"killed": killed})

    def has_lost(self, lease: Lease) -> bool:
        """Whether the slot of this lease of ours went out of service under it."""
        return lease in self._leases and self._pool.is_quarantined(lease.slot)

    async def _acquire(self, call: Call) -> Outcome:
        _checked(SlotAcquireArguments, call)
        lease = await self._pool.acquire(owner=self._owner, trajectory_id=call.trajectory_id)
        self._leases.add(lease)
        return _report(SlotAcquired(slot=lease.slot, epoch=lease.epoch))

    async def _release(self, call: Call) -> Outcome:
        arguments = _checked(SlotReleaseArguments, call)
        lease = _named_lease(call)
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._pool.has_slot(lease.slot):
            raise InvalidInputError("there is no such slot", field="lease.slot")
        if lease not in self._leases:
            return _report(SlotReleased(state="ready"))  # given back before: releasing is idempotent
        self._leases.discard(lease)
        state = await self._pool.release(lease, reset=arguments.reset)
        return _report(SlotReleased(state=state))

    async def _quiesce(self, call: Call) -> Outcome:
        return _report(SlotQuiesced(jobs_killed=await self._pool.quiesce(self._lease(call))))

    async def _status(self, call: Call) -> Outcome:
        _checked(SlotStatusArguments, call)
        lease = self._lease(call)
        await trio.lowlevel.checkpoint()
        return _report(self._pool.status(lease))

    async def _fork(self, call: Call) -> Outcome:
        arguments = _checked(SlotForkArguments, call)
        _check_names(arguments.into)
        leases = await self._pool.fork(self._lease(call), owner=self._owner, into=arguments.into)
        self._leases.update(leases)
        slots, epochs = (tuple(getattr(lease, name) for lease in leases) for name in ("slot", "epoch"))
        return _report(SlotForked(slots=slots, epochs=epochs))

    async def _reset(self, call: Call) -> Outcome:
        arguments = _checked(SlotResetArguments, call)
        return _report(SlotResetReport(base=await self._pool.reset(self._lease(call), base=arguments.base)))

    async def _diff(self, call: Call) -> Outcome:
        arguments = _checked(SlotDiffArguments, call)
        after, most = _after(arguments.after_hex), arguments.max_entries
        if not 1 <= most <= MAX_DIFF_ENTRIES:
            raise InvalidInputError(f"must be between 1 and {MAX_DIFF_ENTRIES}", field="max_entries")
        page = await self._pool.diff(self._lease(call), after_path=after, max_entries=most)
        data = unstructure(SlotDiffReport(entries=page.count, truncated=page.truncated))
        return Outcome(data=data, segments=(len(page.packed),), payload=page.packed)

    async def _build_base(self, call: Call) -> Outcome:
        _checked(BaseBuildArguments, call)
        return _report(BaseReport(base=await self._pool.build_base(self._lease(call))))

    async def _list_bases(self, call: Call) -> Outcome:
        _checked(BaseListArguments, call)
        self._lease(call)
        await trio.lowlevel.checkpoint()
        bases, used = self._pool.bases()
        return _report(BaseListReport(bases=bases, used=used))

    async def _remove_base(self, call: Call) -> Outcome:
        arguments = _checked(BaseRemoveArguments, call)
        self._lease(call)
        await trio.lowlevel.checkpoint()
        self._pool.remove_base(arguments.base)
        return _report(BaseReport(base=arguments.base))

    async def _snapshot(self, call: Call, *, sink: Sink | None = None) -> Outcome:
        _checked(SlotSnapshotArguments, call)
        lease = self._lease(call)
        if sink is None:
            raise InvalidInputError("must be more than 0", field="output_credit")
        limit_s = call.limit_s or DEFAULT_LIMIT_S
        return _archived(await self._pool.snapshot(lease, limit_s=limit_s, sink=sink))

    async def _restore(self, call: Call, *, source: Source | None = None) -> Outcome:
        _checked(SlotRestoreArguments, call)
        lease = self._lease(call)
        assert source is not None  # `takes_input` says so
        limit_s = call.limit_s or DEFAULT_LIMIT_S
        return _archived(await self._pool.restore(lease, limit_s=limit_s, source=source))

    async def _bash(self, call: Call, *, sink: Sink | None = None) -> Outcome:
        arguments = _checked(BashArguments, call)
        limit_s = call.limit_s or DEFAULT_LIMIT_S
        lease = self._lease(call)
        return await self._pool.bash(lease, arguments, stdin=call.payload, limit_s=limit_s, sink=sink)

    async def _bash_stateful(self, call: Call, *, sink: Sink | None = None) -> Outcome:
        arguments = _checked(StatefulArguments, call)
        limit_s = call.limit_s or DEFAULT_LIMIT_S
        return await self._pool.bash_stateful(self._lease(call), arguments, limit_s=limit_s, sink=sink)

    async def _terminal(self, call: Call) -> Outcome:
        arguments = _checked(TerminalArguments, call)
        return await self._pool.terminal(self._lease(call), arguments, data=call.payload)

    async def _job(self, call: Call) -> Outcome:
        return await self._pool.job(self._lease(call), _checked(JobArguments, call), data=call.payload)

    async def _read_file(self, call: Call) -> Outcome:
        return await self._pool.read_file(self._lease(call), _checked(ReadFileArguments, call))

    async def _write_file(self, call: Call) -> Outcome:
        arguments = _checked(WriteFileArguments, call)
        return await self._pool.write_file(self._lease(call), arguments, content=call.payload)

    async def _edit_file(self, call: Call) -> Outcome:
        arguments = _checked(EditFileArguments, call)
        return await self._pool.edit_file(self._lease(call), arguments, texts=call.payload)

    async def _search(self, call: Call) -> Outcome:
        arguments = _checked(SearchArguments, call)
        limit_s = call.limit_s or DEFAULT_LIMIT_S
        return await self._pool.search_files(self._lease(call), arguments, limit_s=limit_s)

    async def _list(self, call: Call) -> Outcome:
        arguments = _checked(ListArguments, call)
        limit_s = call.limit_s or DEFAULT_LIMIT_S
        return await self._pool.list_files(self._lease(call), arguments, limit_s=limit_s)

    async def _download(self, call: Call, *, sink: Sink | None = None) -> Outcome:
        arguments = _checked(DownloadArguments, call)
        limit_s = call.limit_s or DEFAULT_LIMIT_S
        return await self._pool.download(self._lease(call), arguments, limit_s=limit_s, sink=sink)

    async def _upload(self, call: Call, *, source: Source | None = None) -> Outcome:
        arguments = _checked(UploadArguments, call)
        limit_s = call.limit_s or DEFAULT_LIMIT_S
        return await self._pool.upload(self._lease(call), arguments, limit_s=limit_s, source=source)

    def _lease(self, call: Call) -> Lease:
        lease = _named_lease(call)
        if lease not in self._leases:
            raise StaleLeaseError(lease)
        return lease


_OUT_OF_TURN = frozenset({Operation.SLOT_RELEASE, Operation.SLOT_STATUS})

_STARTS: Mapping[str, str] = {Operation.TERMINAL: TerminalAction.START, Operation.JOB: JobAction.START}
"""Operations of which only this action takes its turn."""

_HANDLERS: Mapping[str, Callable[[Operations, Call], Awaitable[Outcome]]] = {
    Operation.SLOT_ACQUIRE: Operations._acquire,
    Operation.SLOT_RELEASE: Operations._release,
    Operation.SLOT_QUIESCE: Operations._quiesce,
    Operation.SLOT_STATUS: Operations._status,
    Operation.SLOT_FORK: Operations._fork,
    Operation.SLOT_RESET: Operations._reset,
    Operation.SLOT_DIFF: Operations._diff,
    Operation.SLOT_SNAPSHOT: Operations._snapshot,
    Operation.SLOT_RESTORE: Operations._restore,
    Operation.BASE_BUILD: Operations._build_base,
    Operation.BASE_LIST: Operations._list_bases,
    Operation.BASE_REMOVE: Operations._remove_base,
    Operation.BASH: Operations._bash,
    Operation.BASH_STATEFUL: Operations._bash_stateful,
    Operation.TERMINAL: Operations._terminal,
    Operation.JOB: Operations._job,
    Operation.READ_FILE: Operations._read_file,
    Operation.WRITE_FILE: Operations._write_file,
    Operation.EDIT_FILE: Operations._edit_file,
    Operation.SEARCH: Operations._search,
    Operation.LIST: Operations._list,
    Operation.DOWNLOAD: Operations._download,
    Operation.UPLOAD: Operations._upload,
}


class _Streaming(Protocol):
    async def __call__(
        self, operations: Operations, call: Call, /, *, sink: Sink | None = None
    ) -> Outcome: ...


_STREAMED: Mapping[str, _Streaming] = {
    Operation.BASH: Operations._bash,
    Operation.BASH_STATEFUL: Operations._bash_stateful,
    Operation.DOWNLOAD: Operations._download,
    Operation.SLOT_SNAPSHOT: Operations._snapshot,
}
"""Those that have output on the way."""


class _Fed(Protocol):
    async def __call__(
        self, operations: Operations, call: Call, /, *, source: Source | None = None
    ) -> Outcome: ...


_FED: Mapping[str, _Fed] = {
    Operation.UPLOAD: Operations._upload,
    Operation.SLOT_RESTORE: Operations._restore,
}
"""Those to which input frames belong."""

BULK: frozenset[str] = frozenset({Operation.DOWNLOAD, Operation.SLOT_SNAPSHOT})
"""Those of them that move files: in larger chunks, because the whole is what counts."""

OFFERED: tuple[str, ...] = tuple(_HANDLERS)
"""Announced in the welcome."""


def _checked(kind: type[T], call: Call) -> T:
    return structure_arguments(kind, call.arguments)


_OF_WORKSPACES = frozenset(
    {
        Operation.SLOT_FORK,
        Operation.SLOT_RESET,
        Operation.SLOT_DIFF,
        Operation.SLOT_SNAPSHOT,
        Operation.SLOT_RESTORE,
        Operation.BASE_BUILD,
        Operation.BASE_REMOVE,
    }
)


def _reason(error: UnavailableError) -> dict[str, str]:
    match error:
        case NoRoomError():
            return {"reason": NO_ROOM}
        case NoBaseError():
            return {"reason": NO_BASE}
        case _:
            return {}


def _archived(archived: Archived | Outcome) -> Outcome:
    if isinstance(archived, Outcome):
        return archived
    return _report(
        SlotArchiveReport(
            archive_bytes=archived.size_bytes,
            sha256=archived.sha256,
            base=archived.base,
            entries=archived.entries,
        )
    )


def _after(after_hex: str) -> bytes | None:
    try:
        return bytes.fromhex(after_hex) or None
    except ValueError:
        raise InvalidInputError("must be bytes in hexadecimal", field="after_hex") from None


def _check_names(into: tuple[str, ...]) -> None:
    if not into or len(set(into)) != len(into):
        raise InvalidInputError("must name one trajectory or more, each once", field="into")


def _named_lease(call: Call) -> Lease:
    if call.lease is None:
        raise InvalidInputError("is required", field="lease")
    return call.lease


def _report(report: object) -> Outcome:
    return Outcome(data=unstructure(report))
