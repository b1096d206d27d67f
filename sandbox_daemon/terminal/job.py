"""A job: a command in the background of a slot, whose output is kept within bounds.

Its life is one task of the pool's: it waits for the job's end, its limit, or too much output, and sees to it
that nothing of the job is left. What it prints is read by the pump of its agent's link, at a bounded rate.
"""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from attrs import frozen

from sandbox_daemon.agent import protocol
from sandbox_daemon.isolation.cgroups import SlotGroup
from sandbox_daemon.process.command import MAX_INLINE_COMMAND, CommandSpec, Exit, Refusal
from sandbox_daemon.process.link import AgentLink
from sandbox_daemon.process.outcome import AgentLostError
from sandbox_daemon.process.running import memory_file
from sandbox_daemon.process.supervise import SIGCONT, SIGTERM, TERM_GRACE_S
from sandbox_daemon.terminal.joblog import JobLog
from sandbox_daemon.terminal.pace import PacedReader
from sandbox_daemon.terminal.session import Session, close_all, start_session
from sandbox_daemon.terminal.writer import SlotWriter

SIGKILL: Final = 9
_BYTES_PER_WINDOW: Final = 512 * 1024
"""Of output, in a tenth of a second: sixteen jobs that flood cost the daemon a twentieth of a core each."""
_FINAL_DRAIN_BYTES: Final = 4 * 1024 * 1024
_SHOWN_CHARS: Final = 200

Kill = Callable[[], Awaitable[bool]]
"""Ends the slot from outside, when a job could not be shown dead."""


@frozen
class Ended:
    """Why a job ended, when that was not its own doing: a word for programs, and one line."""

    word: str
    reason: str


KILLED: Final = Ended("killed", "")
LIMIT: Final = Ended("limit", "its limit passed")
OUTPUT_LIMIT: Final = Ended("output_limit", "it printed more than a command may")
SWEPT: Final = Ended(
    "swept", "another command of the slot ended, and this host has no control groups to keep jobs apart"
)
SLOT_LOST: Final = Ended("sandbox_lost", "the slot was restarted")


class Job:
    """One job. Made by :func:`start_job`; nothing of it is left once ``over`` is set.

    Args:
        name: what it is asked for by.
        session: its processes.
        stdin: our end of its standard input.
        output: our end of its output; closed by :meth:`close`.
        spec: what it runs.
        limit_s: how long; ``None``: until the slot ends.
        nursery: where the pauses of its reader are.
    """

    def __init__(
        self,
        name: str,
        session: Session,
        *,
        stdin: int,
        output: int,
        spec: CommandSpec,
        limit_s: float | None,
        nursery: trio.Nursery,
    ) -> None:
        self.name = name
        self.session = session
        self.command = spec.command[: 4 * _SHOWN_CHARS].decode("utf-8", "replace")[:_SHOWN_CHARS]
        self.log = JobLog()
        self.stdin = SlotWriter(session.link, stdin, session.over)
        self.followed = 0  # byte of the log up to which a follower has it
        self.over = trio.Event()
        self.ended: Ended | None = None
        self._limit_s = math.inf if limit_s is None else limit_s
        self._max_bytes = spec.max_drained_bytes
        self._began = trio.current_time()
        self._ran_s: float | None = None
        self._news = trio.Event()
        self._noticed = trio.Event()
        self._output = output
        self._reader = PacedReader(
            session.link, output, self._heard, bytes_per_window=_BYTES_PER_WINDOW, nursery=nursery
        )
        session.on_end = self._noticed.set

    def __repr__(self) -> str:
        return f"<Job {self.name} {'over' if self.over.is_set() else 'runs'}, {self.log!r}>"

    @property
    def age_s(self) -> float:
        """Since it was started; once it is over, how long it ran."""
        return trio.current_time() - self._began if self._ran_s is None else self._ran_s

    def _heard(self, view: memoryview) -> None:
        self.log.feed(view)
        if self.log.end > self._max_bytes:
            self._noticed.set()
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def wait_output(self, offset: int) -> None:
        """Waits until it has printed something from ``offset`` on, or never will.

        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint()
        while self.log.end <= offset and not self.over.is_set():
            await self._news.wait()

    # --- its end ------------------------------------------------------------------------------------------

    def send_signal(self, number: int) -> None:
        """To its process group. ``AgentLostError``: then it is over anyway."""
        if not self.session.over.is_set():
            self.session.link.send(protocol.pack(protocol.SIGNAL, self.session.call_id, (number,)))

    def kill_nowait(self, why: Ended) -> None:
        """Asks for the end of everything that came of it. ``AgentLostError`` as above.

        Without a group of its own only its process group can be told from the rest of the slot.
        """
        if not self.session.over.is_set():
            self.ended = self.ended or why
            if self.session.has_group:
                self.session.kill()
            else:
                self.send_signal(SIGKILL)

    async def live(self, kill: Kill) -> None:
        """Until nothing of it is left, and all that it printed has been read.

        Cancellation: poisons; whoever cancels it kills the slot.
        """
        try:
            with trio.move_on_after(self._limit_s):
                await self._noticed.wait()
            if not self.session.over.is_set():
                await self._end_by_bounds()
            if not await self.session.end():
                await kill()
        finally:
            self.close()

    async def _end_by_bounds(self) -> None:
        await trio.lowlevel.checkpoint()
        flood = self.log.end > self._max_bytes
        try:
            if not flood:
                self.ended = self.ended or LIMIT
                self.send_signal(SIGTERM)
                self.send_signal(SIGCONT)
                with trio.move_on_after(TERM_GRACE_S):
                    await self.session.over.wait()
            self.kill_nowait(OUTPUT_LIMIT)
            with trio.move_on_after(TERM_GRACE_S):
                await self.session.over.wait()
        except AgentLostError:
            await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Nobody is left who could print or read. Idempotent; what it printed stays."""
        if self.over.is_set():
            return
        self._reader.drain(_FINAL_DRAIN_BYTES)
        self._reader.stop()
        os.close(self._output)
        self.stdin.close()
        self._ran_s = self.age_s
        self.ended = self.ended or self._ended_by_others()
        self.over.set()
        self._tell()

    def _ended_by_others(self) -> Ended | None:
        report = self.session.report
        if isinstance(report, Exit):
            return SWEPT if not self.session.has_group and _died_of(report, SIGKILL) else None
        return SLOT_LOST


def _died_of(report: Exit, number: int) -> bool:
    return os.WIFSIGNALED(report.status) and os.WTERMSIG(report.status) == number


def start_job(
    link: AgentLink,
    groups: SlotGroup,
    spec: CommandSpec,
    *,
    name: str,
    limit_s: float | None,
    nursery: trio.Nursery,
    kill: Kill,
) -> Job:
    """Has the agent start a job. ``AgentLostError`` when it is gone, ``OSError`` without a group or pipes.

    Whether it could be started, the agent says only if it could not: then ``session.report`` is a refusal.

    Args:
        link: the agent's.
        groups: the slot's.
        spec: what to run.
        name: what it is to be called.
        limit_s: see :class:`Job`.
        nursery: where its life is.
        kill: ends the slot, when the job could not be shown dead.
    """
    ours: list[int] = []
    theirs: list[int] = []
    try:
        stdin_end, stdin = os.pipe2(os.O_CLOEXEC)
        theirs.append(stdin_end)
        ours.append(stdin)
        output, output_end = os.pipe2(os.O_CLOEXEC)
        ours.append(output)
        theirs += [output_end, os.dup(output_end)]
        for descriptor in ours:
            os.set_blocking(descriptor, False)
        command = spec.command
        if len(command) > MAX_INLINE_COMMAND:
            theirs.append(memory_file(command))
            command = b". /proc/self/fd/%d" % protocol.FIRST_EXTRA_FD
        shell = b"/bin/" + spec.shell
        argv = (shell, shell, b"-c", command)
        session = start_session(link, groups, argv, given=theirs, cwd=spec.cwd, environment=spec.environment)
        ours.clear()
    finally:
        close_all([*ours, *theirs])
    job = Job(name, session, stdin=stdin, output=output, spec=spec, limit_s=limit_s, nursery=nursery)
    nursery.start_soon(job.live, kill, name=f"life of {name}")
    return job


def refused(job: Job) -> Refusal | None:
    """Why the agent did not start it."""
    report = job.session.report
    return report if isinstance(report, Refusal) else None
