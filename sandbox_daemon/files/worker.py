"""Running a worker: one job inside the slot, with the slot's rights and limits, ended like any command."""

from __future__ import annotations

import contextlib
import marshal
import shlex
from collections.abc import Mapping
from typing import Any, Final

import trio
from attrs import frozen

from hermes_trio.errors import Provenance
from hermes_trio.telemetry.log import get_logger
from sandbox_daemon.agent.bundle import WORKER_BOOT
from sandbox_daemon.files.told import Told, read_told
from sandbox_daemon.isolation.policy import Launch, root_inside
from sandbox_daemon.process.command import CommandSpec, Ending, Ran, Refusal, Sink
from sandbox_daemon.process.outcome import AgentLostError, AgentStartError, Outcome
from sandbox_daemon.process.report import spawn_refusal
from sandbox_daemon.process.running import start
from sandbox_daemon.process.supervise import supervise
from sandbox_daemon.slots.cell import Cell
from sandbox_daemon.slots.turn import Turn
from sandbox_daemon.slots.work import RELEASED, group_of, lost

logger = get_logger(__name__)

_MAX_TOLD_BYTES: Final = 1024 * 1024
_UNBOUNDED: Final = 1 << 62
"""A worker's output is bounded by what it was asked for."""


@frozen(kw_only=True)
class Job:
    """What a worker is to do.

    Args:
        verb: one of ``sandbox_daemon/agent/worker/program.py``.
        what: its arguments, by name.
        limit_s: seconds it may take.
        kept_bytes: of its output, without a sink.
        sink: takes its output as it comes; ``None``: it is kept.
        stdin_fd: its standard input; -1: none.
    """

    verb: str
    what: Mapping[str, Any]
    limit_s: float
    kept_bytes: int = 0
    sink: Sink | None = None
    stdin_fd: int = -1

    @property
    def carries_bytes(self) -> bool:
        """Whether it is there to pass them on, in or out, as long as they last."""
        return self.sink is not None or self.stdin_fd >= 0

    def command(self, launch: Launch) -> bytes:
        """The shell command that starts it."""
        job = {"verb": self.verb, "root": root_inside(launch).encode(), **self.what}
        words = [launch.interpreter, "-I", "-S", "-c", WORKER_BOOT, marshal.dumps(job, 2).hex()]
        return b"exec " + shlex.join(words).encode()


@frozen(kw_only=True)
class Done:
    """A job that came to its end.

    Args:
        told: what it said.
        output: what it brought, if that was kept.
    """

    told: Told
    output: bytes


async def run_job(turn: Turn, job: Job) -> Done | Outcome:
    """Run a job in its turn.

    Cancellation: shielded, at most 2.75 s: the worker is killed first.

    Returns:
        What it brought; an outcome when it did not get that far. A failure that the worker tells of is the
        caller's to word.

    Raises:
        StaleLeaseError: the lease is not good; nothing ran.
    """
    async with turn as cell:
        return await work_in(cell, job)
    return RELEASED


async def work_in(cell: Cell, job: Job) -> Done | Outcome:
    """The same for who has the turn already.

    Cancellation: shielded, at most 2.75 s: the worker is killed first.
    """
    try:
        return _ended(await _run(cell, job), job, cell)
    except (AgentStartError, AgentLostError) as error:
        await trio.lowlevel.checkpoint()
        return lost(cell, error)


async def _run(cell: Cell, job: Job) -> Ran:
    link = cell.link_if_ready(network=None) or await cell.restart(network=None)
    spec = CommandSpec(
        command=job.command(cell.template),
        max_output_bytes=max(job.kept_bytes, _MAX_TOLD_BYTES),
        max_drained_bytes=_UNBOUNDED,
        sink=job.sink,
        code_fd=cell.worker_fd,
        stdin_fd=job.stdin_fd,
    )
    preferred = cell.group.preferred() if job.carries_bytes else contextlib.nullcontext()
    with preferred, group_of(cell) as group:
        running = start(link, spec, group)
        try:
            return await supervise(link, running, limit_s=job.limit_s, kill=cell.kill)
        finally:
            running.close()


def _ended(ran: Ran, job: Job, cell: Cell) -> Done | Outcome:
    if isinstance(ran.report, Refusal):
        return spawn_refusal(ran.report)
    if ran.ending is Ending.LIMIT:
        text = f"It took longer than {job.limit_s:g} s"
        return Outcome(provenance=Provenance.LIMIT_EXCEEDED, error=text)
    if ran.ending is not Ending.EXITED or ran.report is None:
        return Outcome(provenance=Provenance.SANDBOX_LOST, error="The slot's agent was lost meanwhile")
    try:
        told = read_told(ran.stderr.kept())
    except ValueError as error:
        logger.error("a worker said what is no answer", slot=cell.slot, reason=error)
        told = Told()
    if told.failed is None and "done" not in told.numbers:
        return _cut_short(ran.report.status)
    return Done(told=told, output=ran.stdout.kept())


def _cut_short(status: int) -> Outcome:
    """Whoever runs in the slot has the worker's uid and may kill it; so does the kernel, for memory."""
    text = f"The slot ended the work on its files (wait status {status})"
    return Outcome(provenance=Provenance.TOOL_ERROR, error=text)


async def checkpointed(outcome: Outcome) -> Outcome:
    """An answer for which nothing was asked of the slot.

    Cancellation: atomic.
    """
    await trio.lowlevel.checkpoint()
    return outcome
