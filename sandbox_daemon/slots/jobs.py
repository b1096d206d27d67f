"""What can be done with the jobs of a slot. Only their start waits for its turn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, assert_never

import trio
from attrs import evolve, frozen

from hermes_trio.errors import Provenance
from hermes_trio.wire.codec import unstructure
from hermes_trio.wire.operations import (
    JOB_SIGNALS,
    BashArguments,
    JobAction,
    JobArguments,
    JobReport,
)
from sandbox_daemon.agent import protocol
from sandbox_daemon.isolation.levels import Level
from sandbox_daemon.process import report
from sandbox_daemon.process.command import CommandSpec, Ending, Exit
from sandbox_daemon.process.outcome import AgentLostError, AgentStartError, Outcome
from sandbox_daemon.slots.cell import Cell
from sandbox_daemon.slots.requests import MAX_FILE_BYTES, MAX_LIMIT_S, BadRequestError, command_spec
from sandbox_daemon.slots.turn import Turn
from sandbox_daemon.slots.work import RELEASED, Terms, lost
from sandbox_daemon.terminal.job import KILLED, SIGKILL, Job, refused, start_job
from sandbox_daemon.terminal.jobbook import MAX_RUNNING, JobBook

MAX_WAIT_S: Final = 600.0
MAX_INPUT_BYTES: Final = 1024 * 1024
_NOT_ALLOWED: Final = Outcome(
    provenance=Provenance.DENIED,
    error="This daemon runs no background jobs; its operator can allow them with --allow-background",
)
_NO_SANDBOX: Final = Outcome(
    provenance=Provenance.DENIED,
    error="A sandbox is required for background jobs, and this daemon runs at isolation level none",
)


def check_job(arguments: JobArguments, data: bytes = b"") -> JobAction:
    """``BadRequestError`` names the field."""
    try:
        action = JobAction(arguments.action)
    except ValueError:
        raise BadRequestError(f"job: field 'action': {arguments.action[:64]!r} is none") from None
    _within("max_wait_s", arguments.max_wait_s, 0, MAX_WAIT_S)
    _within("offset", arguments.offset, 0, 1 << 60)
    _within("max_bytes", arguments.max_bytes, 1, MAX_FILE_BYTES)
    if arguments.limit_s is not None and not 0 < arguments.limit_s <= MAX_LIMIT_S:
        raise BadRequestError(f"job: field 'limit_s': must be above 0 and at most {MAX_LIMIT_S}")
    if action is JobAction.SIGNAL and arguments.signal not in JOB_SIGNALS:
        raise BadRequestError(f"job: field 'signal': must be one of {', '.join(JOB_SIGNALS)}")
    if len(data) > MAX_INPUT_BYTES:
        raise BadRequestError(f"job: the payload: more than {MAX_INPUT_BYTES} bytes at once")
    return action


def _within(field: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise BadRequestError(f"job: field '{field}': must be between {lowest} and {highest}")


def job_spec(arguments: JobArguments, *, max_drained_bytes: int) -> CommandSpec:
    """What is to be run. ``BadRequestError`` names the field."""
    plain = BashArguments(
        command=arguments.command,
        shell=arguments.shell,
        cwd=arguments.cwd,
        environment=arguments.environment,
    )
    if not arguments.command.strip():
        raise BadRequestError("job: field 'command': is empty")
    try:
        return command_spec(plain, b"", max_drained_bytes=max_drained_bytes)
    except BadRequestError as error:
        raise BadRequestError(_ours(error.outcome.error), error.outcome.provenance) from None


def _ours(text: str) -> str:
    return text.replace("bash:", "job:", 1)


@frozen
class _Place:
    """Of what reports say beside the job itself."""

    cell: Cell
    terms: Terms

    def report(self, job: Job, **more: Any) -> JobReport:
        exit_code, signal, ending, cpu_s = _how_it_ended(job)
        return JobReport(
            job=job.name,
            command=job.command,
            running=not job.over.is_set(),
            ending=ending,
            reason=job.ended.reason if job.ended is not None and ending else "",
            exit_code=exit_code,
            signal=signal,
            age_s=job.age_s,
            cpu_s=cpu_s,
            log_bytes=job.log.end,
            lost_bytes=job.log.lost_bytes,
            sandboxed=self.terms.level is not Level.NONE,
            network_isolated=self.terms.cuts_network and not self.cell.network,
            isolation=self.terms.level.value,
            **more,
        )

    def outcome(self, job: Job, *, payload: bytes = b"", **more: Any) -> Outcome:
        data = unstructure(self.report(job, **more))
        return Outcome(data=data, segments=(len(payload),), payload=payload)


def _how_it_ended(job: Job) -> tuple[int | None, int | None, str, float | None]:
    """Exit code, signal, the word for it, processor time; nothing of a job that runs."""
    if not job.over.is_set():
        return None, None, "", None
    told = job.session.report
    cpu_s = told.cpu_us / 1e6 if isinstance(told, Exit) else None
    if not isinstance(told, Exit) or (job.ended is not None and job.ended is not KILLED):
        return report.EXIT_CODE_OF_A_KILL, None, job.ended.word if job.ended else "sandbox_lost", cpu_s
    ending, exit_code, signal = report.classify(Ending.EXITED, told.status)
    return exit_code, signal, job.ended.word if job.ended is not None else ending, cpu_s


async def run_start_job(
    turn: Turn, terms: Terms, arguments: JobArguments, *, nursery: trio.Nursery
) -> Outcome:
    """Starts a job.

    Cancellation: abandons; a job that was started stays, and is in the list.
    """
    await trio.lowlevel.checkpoint()
    if not terms.background:
        return _NOT_ALLOWED
    if arguments.require_sandbox and terms.level is Level.NONE:
        return _NO_SANDBOX
    try:
        spec = job_spec(arguments, max_drained_bytes=terms.limits.max_drained_bytes)
    except BadRequestError as error:
        return error.outcome
    network = arguments.allow_network and terms.network
    async with turn as cell:
        make = partial(
            start_job,
            groups=cell.group,
            spec=spec,
            limit_s=arguments.limit_s,
            nursery=nursery,
            kill=cell.kill,
        )
        try:
            return await _start(_Place(cell, terms), make, network=network)
        except (AgentStartError, AgentLostError) as error:
            return lost(cell, error)
        except OSError as error:
            text = f"The job could not be started: {error.strerror}"
            return Outcome(provenance=Provenance.LIMIT_EXCEEDED, error=text)
    return RELEASED


async def _start(place: _Place, make: Callable[..., Job], *, network: bool) -> Outcome:
    cell, book = place.cell, place.cell.sessions.jobs
    await trio.lowlevel.checkpoint()
    if len(book.running) >= MAX_RUNNING:
        text = f"A slot runs at most {MAX_RUNNING} jobs at once; end one, or wait for one"
        return Outcome(provenance=Provenance.LIMIT_EXCEEDED, error=text)
    link = cell.link_if_ready(network=network)
    if link is None:
        if cell.agent is not None and cell.network != network:
            await cell.end_sessions("the network policy changed")
        link = await cell.restart(network=network)
    job = make(link, name=book.next_name())
    book.add(job)
    await link.ask(protocol.HOLDERS, (0,))  # answered after the start: a refusal has come by then
    refusal = refused(job)
    if refusal is None:
        return place.outcome(job)
    book.drop(job)
    outcome = report.spawn_refusal(refusal)
    return evolve(outcome, error=_ours(outcome.error))


async def run_job(
    cell: Cell, terms: Terms, action: JobAction, arguments: JobArguments, *, data: bytes
) -> Outcome:
    """Everything but the start.

    Cancellation: abandons; what was typed is typed, what was sent is sent.
    """
    await trio.lowlevel.checkpoint()
    place, book = _Place(cell, terms), cell.sessions.jobs
    if action is JobAction.LIST:
        return Outcome(data={"jobs": [unstructure(place.report(job)) for job in book.jobs.values()]})
    job = book.jobs.get(arguments.job)
    if job is None:
        return _unknown(book, arguments.job)
    try:
        return await _act(place, job, action, arguments, data)
    except AgentLostError as error:
        return lost(cell, error)


def _unknown(book: JobBook, name: str) -> Outcome:
    told = "it has none" if not book.jobs else "it has " + ", ".join(book.jobs)
    text = f"The slot has no job {name[:64]!r}; {told}"
    return Outcome(provenance=Provenance.TOOL_ERROR, error=text)


async def _act(place: _Place, job: Job, action: JobAction, arguments: JobArguments, data: bytes) -> Outcome:
    await trio.lowlevel.checkpoint()
    match action:
        case JobAction.LOGS:
            return await _logs(place, job, arguments)
        case JobAction.WAIT:
            with trio.move_on_after(arguments.max_wait_s):
                await job.over.wait()
            return place.outcome(job)
        case JobAction.SIGNAL:
            return _signal(place, job, JOB_SIGNALS[arguments.signal])
        case JobAction.INPUT:
            return await _input(place, job, arguments, data)
        case JobAction.START | JobAction.LIST:
            raise AssertionError("handled before")
        case unreachable:
            assert_never(unreachable)


async def _logs(place: _Place, job: Job, arguments: JobArguments) -> Outcome:
    offset = job.followed if arguments.follow else arguments.offset
    with trio.move_on_after(arguments.max_wait_s):
        await job.wait_output(offset)
    first, payload = job.log.read(offset, arguments.max_bytes)
    after = first + len(payload)
    if arguments.follow:
        job.followed = after
    return place.outcome(job, payload=payload, first_offset=first, offset=after)


def _signal(place: _Place, job: Job, number: int) -> Outcome:
    if job.session.over.is_set():
        return _is_over(place, job, "there is nobody to be sent a signal")
    if number == SIGKILL:
        job.kill_nowait(KILLED)
    else:
        job.send_signal(number)
    return place.outcome(job)


async def _input(place: _Place, job: Job, arguments: JobArguments, data: bytes) -> Outcome:
    if job.session.over.is_set():
        await trio.lowlevel.checkpoint()
        return _is_over(place, job, "nobody reads its standard input")
    if job.stdin.closed:
        await trio.lowlevel.checkpoint()
        return _refused(place, job, f"The standard input of {job.name} was ended before")
    sent = 0
    with trio.move_on_after(arguments.max_wait_s) as late:
        sent = await job.stdin.send(data, eof=arguments.eof)
    if late.cancelled_caught:
        return _refused(place, job, f"{job.name} did not take all of it in time")
    if sent < len(data):
        return _refused(place, job, f"{job.name} reads no more", sent_bytes=sent)
    return place.outcome(job, sent_bytes=sent)


def _is_over(place: _Place, job: Job, what: str) -> Outcome:
    return _refused(place, job, f"{job.name} is over: {what}")


def _refused(place: _Place, job: Job, text: str, **more: Any) -> Outcome:
    return evolve(place.outcome(job, **more), provenance=Provenance.TOOL_ERROR, error=text)
