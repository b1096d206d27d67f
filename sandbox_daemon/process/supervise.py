"""The life of one command under its limit, and the ladder that ends it.

::

    a limit passes    SIGTERM to the process group, SIGCONT so that a stopped one hears it, 250 ms
    cancel, overflow  (no grace)
                      sweep, by the agent, of the command's group (or, where calls have none, of the whole
                      slot), until the kernel says that nothing is left, 500 ms
                      kill of the slot from outside, PID 1 included: the kernel ends the namespace, 2 s
                      not shown dead: the slot is quarantined

How a command ended is decided once, by whichever came first: its exit, a limit, its cancel, the drain cap.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from hermes_trio.telemetry import traces
from sandbox_daemon.agent import protocol
from sandbox_daemon.process.command import Ending, Ran
from sandbox_daemon.process.link import AgentLink
from sandbox_daemon.process.outcome import AgentLostError
from sandbox_daemon.process.running import Running

SIGTERM: Final = 15
SIGCONT: Final = 18
TERM_GRACE_S: Final = 0.25
SWEEP_LIMIT_S: Final = 0.5
KILL_LIMIT_S: Final = 2.0
_UNWATCHED_S: Final = 0.005
"""Most commands end sooner, having written less than a pipe holds: their pipes are read once, at the end, and
never watched. That saves two of three wake-ups."""


Kill = Callable[[], Awaitable[bool]]
"""Ends the slot's namespace from outside; true once it is shown dead. Bounded by itself."""


async def supervise(link: AgentLink, running: Running, *, limit_s: float, kill: Kill) -> Ran:
    """Waits for the end of a command, or brings it about.

    Cancellation: shielded, at most 2.5 s: everything of the command is gone when Cancelled leaves, or the
    link is lost and ``kill`` has reported false.
    """
    began = trio.current_time()
    try:
        with trio.move_on_after(limit_s):
            with trio.move_on_after(_UNWATCHED_S):
                await running.noticed.wait()
            if not running.noticed.is_set():
                running.watch()
                await _noticed_or_silent(running)
    except trio.Cancelled:
        with trio.CancelScope(shield=True), traces.running("kill"):
            await _end(link, running, soft=False, kill=kill)
        raise
    ending = _first_event(running, late=trio.current_time() - began >= limit_s)
    if ending is Ending.EXITED and running.finished.is_set():
        return _ran(running, ending, trio.current_time() - began)
    return await _stop(link, running, ending, began=began, kill=kill)


async def _noticed_or_silent(running: Running) -> None:
    """Until there is something to act on, or nothing was printed for too long."""
    silence_s = running.spec.no_output_limit_s
    if silence_s is None:
        await running.noticed.wait()
        return
    while trio.current_time() < running.heard_at + silence_s:
        with trio.move_on_at(running.heard_at + silence_s):
            await running.noticed.wait()
            return
    await trio.lowlevel.checkpoint()


async def _stop(link: AgentLink, running: Running, ending: Ending, *, began: float, kill: Kill) -> Ran:
    """Something but its own exit ended it, or it left behind what is slow to die."""
    stopped = trio.current_time()
    with trio.CancelScope(shield=True), traces.running("kill"):
        dead = await _end(link, running, soft=ending in _SOFT, kill=kill)
    now = trio.current_time()
    return _ran(running, ending, now - began, kill_ms=(now - stopped) * 1000.0, dead=dead)


def _ran(
    running: Running, ending: Ending, duration_s: float, *, kill_ms: float | None = None, dead: bool = True
) -> Ran:
    return Ran(
        ending=ending,
        report=running.report,
        stdout=running.stdout,
        stderr=running.stderr,
        order=running.order,
        duration_s=duration_s,
        kill_ms=kill_ms,
        dead=dead,
    )


_SOFT: Final = (Ending.LIMIT, Ending.NO_OUTPUT_LIMIT)


def _first_event(running: Running, *, late: bool) -> Ending:
    if running.report is not None:
        return Ending.EXITED
    if running.finished.is_set():
        return Ending.SANDBOX_LOST
    if running.overflowed:
        return Ending.OUTPUT_LIMIT
    return Ending.LIMIT if late else Ending.NO_OUTPUT_LIMIT


async def _end(link: AgentLink, running: Running, *, soft: bool, kill: Kill) -> bool:
    """The ladder. True when nothing of the command is left.

    Cancellation: callers shield it; bounded, at most 2.75 s.
    """
    try:
        if soft:
            for number in (SIGTERM, SIGCONT):
                link.send(protocol.pack(protocol.SIGNAL, running.call_id, (number,)))
            await _finished_within(running, TERM_GRACE_S)
        if not running.finished.is_set():
            if running.report is None:  # else what is left has been killed already, and is waited for
                link.send(protocol.pack(protocol.SWEEP, running.call_id))
            await _finished_within(running, SWEEP_LIMIT_S)
    except AgentLostError:
        pass  # then there is nobody to ask, and the kill from outside decides
    if running.report is None or not running.finished.is_set():
        return await kill()
    await trio.lowlevel.checkpoint()
    return True


async def _finished_within(running: Running, limit_s: float) -> None:
    with trio.move_on_after(limit_s):
        await running.finished.wait()
