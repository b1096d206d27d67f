"""What can be done in a slot, in a turn of its own: commands, and questions to the agent about files."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Iterator
from typing import Final

import trio
from attrs import evolve, frozen

from hermes_trio.errors import Provenance
from hermes_trio.telemetry import traces
from hermes_trio.telemetry.log import get_logger
from hermes_trio.wire.operations import BashArguments
from sandbox_daemon.agent import protocol
from sandbox_daemon.isolation.cgroups import CallGroup
from sandbox_daemon.isolation.levels import Level
from sandbox_daemon.isolation.policy import SlotLimits
from sandbox_daemon.process import report
from sandbox_daemon.process.command import CommandSpec, Sink
from sandbox_daemon.process.link import AgentLink, Message
from sandbox_daemon.process.outcome import AgentLostError, AgentStartError, Outcome
from sandbox_daemon.process.report import bash_outcome
from sandbox_daemon.process.running import start
from sandbox_daemon.process.supervise import supervise
from sandbox_daemon.slots.cell import Cell
from sandbox_daemon.slots.requests import (
    BadRequestError,
    check_limit,
    command_spec,
)
from sandbox_daemon.slots.turn import Turn

logger = get_logger(__name__)

RELEASED: Final = Outcome(provenance=Provenance.CANCELLED, error="Cancelled: the slot was released")
"""The lease ended under the call; whatever it had started is gone."""
FILE_LIMIT_S: Final = 30.0
_NO_SANDBOX: Final = Outcome(
    provenance=Provenance.DENIED, error="A sandbox is required, and this daemon runs at isolation level none"
)


@frozen(kw_only=True)
class Terms:
    """Under which terms commands run here.

    Args:
        level: in force.
        network: whether a call that asks for the network gets the host's.
        cuts_network: whether a call that does not is kept off it.
        limits: of each slot.
        background: whether jobs may be started.
    """

    level: Level
    network: bool
    cuts_network: bool
    limits: SlotLimits
    background: bool = False


async def run_bash(
    turn: Turn,
    terms: Terms,
    arguments: BashArguments,
    *,
    stdin: bytes,
    limit_s: float,
    sink: Sink | None = None,
) -> Outcome:
    """See :meth:`SlotPool.bash`.

    Cancellation: shielded, at most 2.75 s: the whole process tree is killed first.
    """
    try:
        check_limit(limit_s)
        spec = command_spec(arguments, stdin, max_drained_bytes=terms.limits.max_drained_bytes)
        spec = evolve(spec, sink=sink)
    except BadRequestError as error:
        await trio.lowlevel.checkpoint()
        return error.outcome
    if arguments.require_sandbox and terms.level is Level.NONE:
        await trio.lowlevel.checkpoint()
        return _NO_SANDBOX
    network = arguments.allow_network and terms.network
    async with turn as cell:
        try:
            link = cell.link_if_ready(network=network) or await cell.restart(network=network)
            turn.share()
            return await _run(cell, link, spec, terms, network=network, limit_s=limit_s)
        except (AgentStartError, AgentLostError) as error:
            return lost(cell, error)
    return RELEASED


async def _run(
    cell: Cell, link: AgentLink, spec: CommandSpec, terms: Terms, *, network: bool, limit_s: float
) -> Outcome:
    before = cell.group.hits()
    with group_of(cell) as group, traces.running("run"):
        running = start(link, spec, group)
        try:
            ran = await supervise(link, running, limit_s=limit_s, kill=cell.kill)
        finally:
            running.close()
    return bash_outcome(
        ran,
        report.Terms(
            limit_s=limit_s,
            level=terms.level.value,
            network_isolated=terms.cuts_network and not network,
            hits=cell.group.hits().since(before),
            memory_bytes=terms.limits.memory_bytes,
            processes=terms.limits.max_processes,
        ),
    )


@contextlib.contextmanager
def group_of(cell: Cell) -> Iterator[CallGroup | None]:
    """One for a command that has others beside it, and where no PID namespace makes a sweep of all sure."""
    beside = not cell.turn.held_alone or cell.sessions.alive
    wanted = beside or cell.template.level is not Level.NS
    group = cell.group.take() if wanted else None
    try:
        yield group
    finally:
        if group is not None:
            cell.group.give_back(group)


_ANSWERS: Final = {protocol.READ: protocol.CONTENT, protocol.WRITE: protocol.WRITTEN}


async def ask_agent(
    turn: Turn, kind: int, fixed: tuple[int, ...], strings: tuple[bytes, ...], descriptor: int = -1
) -> Message | Outcome:
    """One question about a file, in its turn; the answer, ``FAILED`` included, or why there is none.

    Cancellation: abandons.
    """
    async with turn as cell:
        return await ask_cell(cell, kind, fixed, strings, descriptor)
    return RELEASED


async def ask_cell(
    cell: Cell, kind: int, fixed: tuple[int, ...], strings: tuple[bytes, ...], descriptor: int = -1
) -> Message | Outcome:
    """The same for who has the turn already.

    Cancellation: abandons.
    """
    try:
        link = cell.link_if_ready(network=None) or await cell.restart(network=None)
        given = [descriptor] if descriptor >= 0 else []
        answer = await _answer_within(cell, link.ask(kind, fixed, strings, descriptors=given))
    except (AgentStartError, AgentLostError) as error:
        await trio.lowlevel.checkpoint()
        return lost(cell, error)
    if answer.kind in (_ANSWERS[kind], protocol.FAILED):
        return answer
    answer.drop()
    return lost(cell, AgentLostError("its answer is none to this question"))


async def _answer_within(cell: Cell, asking: Awaitable[Message]) -> Message:
    """A file that takes so long is on a disk that hangs, or its agent does: the slot starts anew."""
    with trio.move_on_after(FILE_LIMIT_S):
        return await asking
    await cell.kill()
    raise AgentLostError(f"no answer about a file within {FILE_LIMIT_S} s")


async def run_quiesce(turn: Turn) -> int:
    """See :meth:`SlotPool.quiesce`.

    Cancellation: atomic.
    """
    async with turn as cell:
        jobs = len(cell.sessions.jobs.running)
        # Every call ends with a sweep, so once the sessions are gone the turn is the proof; the survey is
        # there to see a bug of ours.
        with contextlib.suppress(AgentLostError, AgentStartError):
            await cell.end_sessions("the slot was quiesced")
            if cell.link_if_ready(network=None) is None:
                await cell.restart(network=None)
            processes, _ = await cell.survey()
            if processes:
                logger.error("processes outlived their call", slot=cell.slot, processes=processes)
                await cell.stop()
        return jobs
    return 0


def lost(cell: Cell, error: Exception) -> Outcome:
    """The agent is gone, or none came up. The next call tries a fresh one on the same workspace."""
    logger.error("an agent is gone", slot=cell.slot, reason=error)
    return Outcome(provenance=Provenance.SANDBOX_LOST, error=str(error))
