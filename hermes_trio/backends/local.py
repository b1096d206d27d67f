"""Daemons on this machine, as child processes of a block.

Each daemon has a supervisor task that lives its lives one after another: start, publish, wait for the end,
withdraw, pause, start again, until the budget of restarts is used up. Leaving the block cancels the
supervisors, and each one stops its own daemon, all at the same time.

The token never appears on a command line or in an environment, where ``ps`` would show it.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Literal, final, get_args

import trio
from attrs import field, frozen

from hermes_trio.backends.base import Backend, DaemonEndpoint, EndpointBoard
from hermes_trio.backends.places import Places, open_places
from hermes_trio.backends.process import open_daemon_process
from hermes_trio.backends.restarts import RestartBudget, RestartPolicy
from hermes_trio.errors import HermesTrioError, InvalidInputError
from hermes_trio.link.background import open_background_nursery
from hermes_trio.telemetry.log import get_logger

IsolationPolicy = Literal["auto", "required", "none"]
"""``required``: refuse to start where slots cannot be isolated; ``auto``: do with a uid for each
slot where that is all there is, loudly; ``none``: do not isolate at all, for development."""

MAX_SLOTS_PER_DAEMON = 4096
"""What the daemon program takes."""

DAEMON_PROGRAM = (sys.executable, "-m", "sandbox_daemon")

logger = get_logger(__name__)


@frozen(kw_only=True)
class _Plan:
    """One daemon that is to be kept alive."""

    name: str
    argv: tuple[str, ...]
    token: str = field(repr=False)
    start_limit_s: float
    stop_grace_s: float
    restarts: RestartPolicy


_Report = Callable[[HermesTrioError | None], None]


@final
class LocalBackend(Backend):
    """See :func:`open_local_backend`."""

    def __init__(self, board: EndpointBoard) -> None:
        self._board = board

    @property
    def name(self) -> str:
        """``local``."""
        return "local"

    @property
    def board(self) -> EndpointBoard:
        """The daemons that serve now."""
        return self._board


@asynccontextmanager
async def open_local_backend(
    *,
    slots: int,
    daemons: int = 1,
    isolation: IsolationPolicy = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    start_limit_s: float = 30.0,
    stop_grace_s: float = 10.0,
    restarts: RestartPolicy | None = None,
    daemon_options: Sequence[str] = (),
    program: Sequence[str] = DAEMON_PROGRAM,
) -> AsyncIterator[LocalBackend]:
    """Start sandbox daemons on this machine, keep them running for the block, and stop them at its end.

    All of them serve when the block begins. One that dies later is withdrawn from the board and started
    again; one that keeps dying is given up, and the board says why.

    Cancellation: shielded, at most ``stop_grace_s`` + 25 s: leaving in any way returns only when no daemon
    runs any more and the temporary directories are gone.

    Args:
        slots: workspaces in all, divided as evenly as possible.
        daemons: processes to divide them over.
        isolation: what to do on a host that cannot isolate; see :data:`IsolationPolicy`.
        data_dir: where to keep workspaces; kept afterwards. ``None``: a temporary directory.
        start_limit_s: seconds a daemon may take until it serves.
        stop_grace_s: seconds a daemon may take to stop in order; then it is killed.
        restarts: how often a daemon that died is started again; ``None``: 5 times a minute.
        daemon_options: more for each daemon's command line, for instance ``["--slot-memory", "4G"]``; see
            ``sandbox-daemon --help``.
        program: what to run instead of our daemon; for tests.

    Yields:
        The backend.

    Raises:
        InvalidInputError: the numbers or the directory make no sense.
        UnavailableError: a daemon cannot be started here; the text is its own sentence.
        TooSlowError: a daemon did not serve within ``start_limit_s``.
    """
    shares = divide_slots(slots, daemons)
    if isolation not in get_args(IsolationPolicy):
        raise InvalidInputError(f"must be one of {', '.join(get_args(IsolationPolicy))}", field="isolation")
    board = EndpointBoard()
    async with open_places(data_dir) as places, open_background_nursery() as nursery:
        token = places.write_token()
        reports, outcomes = trio.open_memory_channel[HermesTrioError | None](daemons)
        for number, share in enumerate(shares):
            plan = _Plan(
                name=f"local-{number}",
                argv=(
                    *program,
                    *_arguments(places, f"daemon-{number}", share, isolation),
                    *daemon_options,
                ),
                token=token,
                start_limit_s=start_limit_s,
                stop_grace_s=stop_grace_s,
                restarts=restarts or RestartPolicy(),
            )
            nursery.start_soon(_supervise, board, plan, reports.send_nowait)
        for _ in shares:
            problem = await outcomes.receive()
            if problem is not None:
                raise problem
        yield LocalBackend(board)


def divide_slots(slots: int, daemons: int) -> tuple[int, ...]:
    """Divide slots over daemons, the larger shares first.

    Raises:
        InvalidInputError: there would be a daemon without a slot, or no daemon.
    """
    if daemons < 1:
        raise InvalidInputError(f"must be at least 1, not {daemons}", field="daemons")
    if slots < daemons:
        raise InvalidInputError(f"must be at least 1 for each daemon, not {slots}", field="slots")
    if slots > daemons * MAX_SLOTS_PER_DAEMON:
        most = f"{MAX_SLOTS_PER_DAEMON} for each daemon"
        raise InvalidInputError(f"must be at most {most}, not {slots}", field="slots")
    share, rest = divmod(slots, daemons)
    return (share + 1,) * rest + (share,) * (daemons - rest)


def _arguments(places: Places, name: str, slots: int, isolation: str) -> tuple[str, ...]:
    options = {
        "--host": "127.0.0.1",
        "--port": "0",
        "--slots": str(slots),
        "--data-dir": str(places.data_of(name)),
        "--token-file": str(places.token_file),
        "--ready-file": str(places.ready_file(name)),
        "--isolation": isolation,
        "--log-format": "pretty",  # its last words are for people
    }
    return (*(part for option in options.items() for part in option), "--exit-with-stdin")


async def _supervise(board: EndpointBoard, plan: _Plan, report: _Report) -> None:
    """Keep one daemon alive. How the first start went is reported; what happens later is handled here."""
    await trio.lowlevel.checkpoint()
    try:
        ending = await _live(board, plan, on_serving=lambda: report(None))
    except HermesTrioError as error:
        report(error)
        return
    budget = RestartBudget(plan.restarts)
    while True:
        pause = budget.spend(now=trio.current_time(), chance=random.random())  # noqa: S311 - only spreads load
        if pause is None:
            break
        logger.warning("a daemon is started again", daemon=plan.name, reason=ending, pause_s=round(pause, 2))
        await trio.sleep(pause)
        try:
            ending = await _live(board, plan, on_serving=lambda: None)
        except HermesTrioError as error:
            ending = str(error)
    logger.error("a daemon is not started again", daemon=plan.name, reason=ending)
    board.give_up(plan.name, f"{plan.name} was given up: {ending}")


async def _live(board: EndpointBoard, plan: _Plan, *, on_serving: Callable[[], None]) -> str:
    """One life, from start to end; returns how it ended."""
    async with open_daemon_process(
        plan.argv, start_limit_s=plan.start_limit_s, stop_grace_s=plan.stop_grace_s
    ) as daemon:
        board.publish(DaemonEndpoint(name=plan.name, url=daemon.ready.url, token=plan.token))
        on_serving()
        try:
            return await daemon.wait()
        finally:
            board.withdraw(plan.name)
