"""Background jobs of a trajectory's slot, as a program of ours drives them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Protocol, TypeVar

import trio
from attrs import frozen

from hermes_trio.errors import InvalidInputError, Provenance, SandboxLostError, UnavailableError
from hermes_trio.executor.config import MAX_LIMIT_S, ExecutorConfig
from hermes_trio.executor.files import NO_SLOT
from hermes_trio.fleet.calls import CallRecord
from hermes_trio.wire.codec import structure_arguments
from hermes_trio.wire.frames import Result
from hermes_trio.wire.operations import JobAction, JobListReport, JobReport, Operation

_Report = TypeVar("_Report", JobReport, JobListReport)

PIECE_BYTES: Final = 256 * 1024
"""Of what is typed or fetched at once; a link carries other calls between the pieces."""


@frozen(kw_only=True)
class LogPiece:
    """A piece of what a job printed.

    Args:
        offset: where it begins, in bytes from the job's first.
        data: standard output and standard error, in the order in which they were written.
        lost_bytes: what lies before it, was asked for, and is no more kept.
    """

    offset: int
    data: bytes
    lost_bytes: int = 0


class _Road(Protocol):
    async def operate(self, record: CallRecord) -> None:
        """Send a call to its trajectory's slot, and wait for its end. Cancellation: abandons."""


class Job:
    """Made by :meth:`~hermes_trio.executor.executor.Executor.start_job`; ``name`` tells it from others.

    Several tasks may use it at once. Every method raises ``UnavailableError`` when the slot has no such job,
    or it cannot be done, and ``LostError`` when the slot is gone.
    """

    def __init__(self, road: _Road, trajectory_id: str, *, name: str) -> None:
        self._road = road
        self.trajectory_id = trajectory_id
        self.name = name

    def __repr__(self) -> str:
        return f"<Job {self.name!r} of {self.trajectory_id!r}>"

    async def status(self) -> JobReport:
        """How it stands now.

        Cancellation: abandons.
        """
        return await self._report(JobAction.WAIT)

    async def wait(self) -> JobReport:
        """Wait until it is over and nothing of it is left; how it ended.

        The daemon answers when it happens; nobody asks again and again.

        Cancellation: abandons; the job goes on.
        """
        while True:
            report = await self._report(JobAction.WAIT, max_wait_s=MAX_LIMIT_S)
            if not report.running:
                return report

    async def read_log(self, offset: int = 0) -> LogPiece | None:
        """What it printed from ``offset`` on; waits for it. ``None``: it is over, and that was all.

        Cancellation: abandons; nothing is lost.

        Args:
            offset: in bytes; where the piece before ended.
        """
        while True:
            result = await self._ask(
                JobAction.LOGS, offset=offset, max_bytes=PIECE_BYTES, max_wait_s=MAX_LIMIT_S
            )
            report = _understood(result)
            if result.payload:
                first = report.first_offset
                return LogPiece(offset=first, data=result.payload, lost_bytes=max(0, first - offset))
            if not report.running:
                return None

    def log(self, offset: int = 0) -> LogStream:
        """What it printed from ``offset`` on, as it comes, until it is over: an async iterator.

        The daemon keeps the first 32 KiB and the last 64 KiB for whoever comes late; what lies between them
        is lost, and the pieces say how much.
        """
        return LogStream(self, offset)

    async def send(self, data: bytes | str, *, eof: bool = False) -> None:
        """Write it all to its standard input, as fast as it reads.

        Cancellation: abandons; what was taken is taken.

        Args:
            data: text is sent as UTF-8.
            eof: end its standard input after that.
        """
        rest = memoryview(data.encode() if isinstance(data, str) else data)
        while len(rest) > PIECE_BYTES:
            await self._send(rest[:PIECE_BYTES], eof=False)
            rest = rest[PIECE_BYTES:]
        await self._send(rest, eof=eof)

    async def _send(self, data: memoryview, *, eof: bool) -> None:
        await self._ask(JobAction.INPUT, payload=bytes(data), eof=eof, max_wait_s=MAX_LIMIT_S)

    async def signal(self, name: str) -> None:
        """Send a signal to its process group, ``INT`` for instance.

        Cancellation: abandons.

        Args:
            name: one of :data:`~hermes_trio.wire.operations.JOB_SIGNALS`.
        """
        await self._ask(JobAction.SIGNAL, signal=name)

    async def kill(self) -> JobReport:
        """End everything that came of it, and wait for that. Idempotent.

        Cancellation: abandons; it ends all the same.
        """
        if (await self.status()).running:
            await self._ask(JobAction.SIGNAL, refusals=frozenset({Provenance.TOOL_ERROR}), signal="KILL")
        return await self.wait()

    async def start(self, **arguments: Any) -> JobReport:
        """Part of :meth:`Executor.start_job`. Cancellation: abandons; one that was started stays."""
        report = await self._report(JobAction.START, **arguments)
        self.name = report.job
        return report

    async def list(self) -> tuple[JobReport, ...]:
        """Part of :meth:`Executor.jobs`. Cancellation: abandons."""
        listed = _checked(JobListReport, (await self._ask(JobAction.LIST)).data)
        return tuple(_checked(JobReport, each) for each in listed.jobs)

    async def _report(self, action: JobAction, **arguments: Any) -> JobReport:
        return _understood(await self._ask(action, **arguments))

    async def _ask(
        self,
        action: JobAction,
        *,
        payload: bytes = b"",
        refusals: frozenset[Provenance] = frozenset(),
        **arguments: Any,
    ) -> Result:
        record = CallRecord(
            operation=Operation.JOB,
            arguments={"action": action, "job": self.name, **arguments},
            trajectory_id=self.trajectory_id,
            payload=payload,
        )
        await self._road.operate(record)
        result = record.unwrap()
        if result.provenance is Provenance.OK or result.provenance in refusals:
            return result
        match result.provenance:
            case Provenance.SANDBOX_LOST:
                raise SandboxLostError(result.error)
            case Provenance.INVALID_REQUEST:
                raise InvalidInputError(result.error)
            case _:
                raise UnavailableError(result.error)


def _understood(result: Result) -> JobReport:
    return _checked(JobReport, result.data)


def _checked(kind: type[_Report], data: Mapping[str, Any]) -> _Report:
    try:
        return structure_arguments(kind, data)
    except InvalidInputError as exc:
        raise UnavailableError(f"the daemon's report on a job cannot be read: {exc}") from exc


class LogStream(AsyncIterator[LogPiece]):
    """See :meth:`Job.log`. ``offset`` is where the next piece begins."""

    def __init__(self, job: Job, offset: int) -> None:
        self._job = job
        self.offset = offset

    def __repr__(self) -> str:
        return f"<LogStream of {self._job!r} at {self.offset}>"

    def __aiter__(self) -> LogStream:
        """Itself."""
        return self

    async def __anext__(self) -> LogPiece:
        """The next piece.

        Cancellation: abandons; nothing is lost.
        """
        piece = await self._job.read_log(self.offset)
        if piece is None:
            raise StopAsyncIteration
        self.offset = piece.offset + len(piece.data)
        return piece


class JobMethods(ABC):
    """Mixed into the executor, which brings the road."""

    @property
    @abstractmethod
    def config(self) -> ExecutorConfig:
        """The settings it was opened with."""

    @abstractmethod
    def has_slot(self, trajectory_id: str) -> bool:
        """Whether the trajectory has a slot, or is about to get one."""

    @abstractmethod
    def refusal(self, trajectory_id: str) -> str:
        """Why a trajectory's calls are refused now; empty when they are not."""

    @abstractmethod
    async def operate(self, record: CallRecord) -> None:
        """Send a call to its trajectory's slot, and wait for its end. Cancellation: abandons."""

    async def start_job(
        self,
        trajectory_id: str,
        command: str,
        *,
        cwd: str = ".",
        environment: Mapping[str, str] | None = None,
        limit_s: float | None = None,
    ) -> Job:
        """Run a command in the background of a trajectory's slot, beside its calls.

        It ends when its command does, at its limit, or when the slot is quiesced, reset, released or forked,
        and outlives a lost link. Nobody has to hold the object. The daemon must allow jobs; what
        ``config.allow_background`` says is about what models ask for.

        Cancellation: abandons; a job that was started stays, and :meth:`jobs` tells of it.

        Args:
            trajectory_id: whose slot.
            command: for bash.
            cwd: relative to the workspace.
            environment: added to the slot's clean environment.
            limit_s: seconds after which it is ended; ``None``: none but the slot's end.

        Raises:
            InvalidInputError: an argument makes no sense.
            UnavailableError: it could not be started, or is not allowed, or the trajectory was quiesced.
            LostError: the slot is gone.
        """
        if refusal := self.refusal(trajectory_id):
            await trio.lowlevel.checkpoint()
            raise UnavailableError(refusal)
        job = Job(self, trajectory_id, name="")
        more = {} if environment is None else {"environment": dict(environment)}
        await job.start(
            command=command,
            cwd=cwd,
            limit_s=limit_s,
            allow_network=self.config.allow_network,
            require_sandbox=self.config.require_sandbox,
            **more,
        )
        return job

    async def jobs(self, trajectory_id: str) -> tuple[JobReport, ...]:
        """How the trajectory's jobs stand, oldest first: those that run, and the last that are over.

        Cancellation: abandons.

        Raises:
            UnavailableError: the trajectory has no slot.
            LostError: the slot is gone.
        """
        self._check_has_slot(trajectory_id)
        return await Job(self, trajectory_id, name="").list()

    def job(self, trajectory_id: str, name: str) -> Job:
        """A job that was started before, by its name.

        Raises:
            UnavailableError: the trajectory has no slot.
        """
        self._check_has_slot(trajectory_id)
        return Job(self, trajectory_id, name=name)

    def _check_has_slot(self, trajectory_id: str) -> None:
        if not self.has_slot(trajectory_id):
            raise UnavailableError(NO_SLOT)
