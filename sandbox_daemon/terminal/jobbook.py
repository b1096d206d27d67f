"""Which jobs a slot has and has had, and their end."""

from __future__ import annotations

import contextlib
from typing import Final

import trio
from attrs import define, field

from sandbox_daemon.process.outcome import AgentLostError
from sandbox_daemon.terminal.job import Ended, Job
from sandbox_daemon.terminal.session import END_LIMIT_S

MAX_RUNNING: Final = 16
MAX_KEPT: Final = 32
"""With those that are over. Each keeps at most 160 KiB of what it printed."""


@define(eq=False)
class JobBook:
    """The jobs of one slot.

    Attributes:
        jobs: by name, oldest first.
        started: how many there have been in this workspace.
    """

    jobs: dict[str, Job] = field(factory=dict)
    started: int = 0

    @property
    def running(self) -> list[Job]:
        """Those that are not over."""
        return [job for job in self.jobs.values() if not job.over.is_set()]

    @property
    def alive(self) -> bool:
        """Whether something of a job lives."""
        return any(not job.session.gone.is_set() for job in self.jobs.values())

    def next_name(self) -> str:
        """A name that no job of this workspace has had."""
        self.started += 1
        return f"job-{self.started}"

    def add(self, job: Job) -> None:
        """Keeps it; the oldest that are over are forgotten, so that there are not too many."""
        self.jobs[job.name] = job
        over = [name for name, each in self.jobs.items() if each.over.is_set()]
        for name in over[: max(0, len(self.jobs) - MAX_KEPT)]:
            del self.jobs[name]

    def drop(self, job: Job) -> None:
        """It was never started; its name was."""
        del self.jobs[job.name]

    async def end_all(self, why: str) -> bool:
        """Ends all that run, at once; they stay in the book. False: one is not shown dead; kill the slot.

        Cancellation: shielded, at most 0.5 s.
        """
        await trio.lowlevel.cancel_shielded_checkpoint()
        running = self.running
        for job in running:
            with contextlib.suppress(AgentLostError):
                job.kill_nowait(Ended("slot_ended", why))
        with trio.CancelScope(shield=True), trio.move_on_after(END_LIMIT_S):
            await trio.lowlevel.checkpoint()
            for job in running:
                await job.over.wait()
        return all(job.over.is_set() for job in running)

    def forget(self) -> None:
        """The slot was wiped, or is somebody else's: whoever gets it hears nothing of what was."""
        for job in self.jobs.values():
            job.close()
        self.jobs.clear()
        self.started = 0
