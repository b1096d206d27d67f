"""Ending a slot from outside: the last rung of the ladder, and the first of a reset."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import trio

from sandbox_daemon.isolation.launch import AgentProcess
from sandbox_daemon.isolation.levels import Level
from sandbox_daemon.isolation.processes import descendants, is_dead, living
from sandbox_daemon.process.supervise import KILL_LIMIT_S


async def kill_slot(agent: AgentProcess) -> bool:
    """Kills everything in the slot. True: shown dead.

    Cancellation: shielded, at most 2 s.
    """
    with trio.CancelScope(shield=True), trio.move_on_after(KILL_LIMIT_S):
        if agent.group.contains_calls:
            agent.group.kill()
        elif agent.launch.level is Level.UID:
            await _kill_uid(agent)
        elif agent.launch.level is Level.NONE:
            await _kill_descendants(agent)
        agent.kill_nowait()
        await agent.wait_dead()
        await agent.group.wait_empty()
        return agent.launch.level is not Level.UID or not any(_processes_of(agent.launch.uid))
    return False


async def _kill_uid(agent: AgentProcess) -> None:
    """``kill(-1)`` as the slot's uid reaches all its processes, whatever session they are in."""
    agent.kill_nowait()
    killer = _start_killer(agent)
    pidfd = os.pidfd_open(killer.pid)
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
        killer.wait()
    for pid in list(_processes_of(agent.launch.uid)):
        await _kill_one(pid)  # it has its signal already; this waits for its death


def _start_killer(agent: AgentProcess) -> subprocess.Popen[bytes]:
    assert agent.launch.uid is not None
    return subprocess.Popen(  # noqa: S603 - our own interpreter
        [agent.launch.interpreter, "-I", "-S", "-c", "import os; os.kill(-1, 9)"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        user=agent.launch.uid,
        group=agent.launch.uid,
        extra_groups=[],
    )


async def _kill_descendants(agent: AgentProcess) -> None:
    """The agent is their subreaper: as long as it lives (stopped), orphans stay below it and are found."""
    await trio.lowlevel.checkpoint()
    try:
        signal.pidfd_send_signal(agent.pidfd, signal.SIGSTOP)
    except ProcessLookupError:
        return
    while alive := [pid for pid in descendants(agent.pid) if not is_dead(pid)]:
        for pid in alive:
            await _kill_one(pid)
    agent.kill_nowait()


async def _kill_one(pid: int) -> None:
    """Waits for its death: its children become the agent's only then."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        await trio.lowlevel.checkpoint()
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        await trio.lowlevel.wait_readable(pidfd)
    except ProcessLookupError:
        await trio.lowlevel.checkpoint()
    finally:
        os.close(pidfd)


def _processes_of(uid: int | None) -> Iterator[int]:
    return (pid for pid, uids in living() if uid in uids)
