"""One life of one daemon process: start it, hear that it serves, and see it gone.

Theory of operation. The child gets three pipes. *stdin* is its cord to us: it is never written to, and when
this process dies, however that is, the kernel closes it and the daemon (``--exit-with-stdin``) drains. On
*stdout* it prints one JSON line once it serves; that line is the event that is waited for, so nothing polls
a file. The tail of *stderr* is kept for the message when things go wrong.

The pipes are drained as long as the process lives, so that it can never block on them; but its end is told
by the process itself (a pidfd), never by the end of a pipe, which a grandchild may hold open.

``trio.run_process`` is not used: it waits for the pipes, keeps everything they say, and kills only at the
very end. The child is its own session: Ctrl-C on the terminal is ours to turn into an orderly stop.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import final

import orjson
import trio
from attrs import frozen

from hermes_trio.errors import HermesTrioError, TooSlowError, UnavailableError
from hermes_trio.link.background import open_background_nursery
from hermes_trio.telemetry.log import get_logger

EXIT_ENVIRONMENT = 3
"""The exit code by which our programs say: this host lacks something; stderr has the sentence."""

_READY_MAX_BYTES = 64 * 1024
_STDERR_TAIL_BYTES = 64 * 1024
_CHUNK_BYTES = 64 * 1024
_LAST_WORDS_S = 0.25
"""How long the end of stderr is waited for after the process is gone; a grandchild may hold it open."""
_DEATH_S = 5.0
"""SIGKILL works at once, except on a process that is stuck in the kernel."""

logger = get_logger(__name__)


@frozen(kw_only=True)
class ReadyLine:
    """What a daemon says of itself once it serves."""

    url: str
    pid: int
    epoch: int


@final
class DaemonProcess:
    """A daemon that serves. Made by :func:`open_daemon_process`."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._stderr = bytearray()
        self._stderr_ended = trio.Event()
        self.ready = ReadyLine(url="", pid=process.pid, epoch=0)

    def __repr__(self) -> str:
        code = self._process.returncode
        state = "running" if code is None else f"ended with {code}"
        return f"<DaemonProcess {self._process.pid} {state} {self.ready.url}>"

    @property
    def stderr_tail(self) -> str:
        """The last 64 KiB it wrote to its standard error."""
        return self._stderr.decode("utf-8", "replace")

    async def wait(self) -> str:
        """Wait for its end; returns one sentence about it, with its own last words if it had any.

        Cancellation: atomic.
        """
        code = await self._process.wait()
        with trio.move_on_after(_LAST_WORDS_S):
            await self._stderr_ended.wait()
        how = f"was killed by {_signal_name(-code)}" if code < 0 else f"exited with code {code}"
        said = _last_line(self.stderr_tail)
        return f"The sandbox daemon {how}" + (f": {said}" if said else ".")

    def refusal(self) -> str:
        """What it said when it ended in order because this host lacks something; else empty."""
        return _last_line(self.stderr_tail) if self._process.returncode == EXIT_ENVIRONMENT else ""

    async def _hear_ready_line(self) -> None:
        """Read the first line of stdout, or fail."""
        await trio.lowlevel.checkpoint()
        stdout = self._process.stdout
        assert stdout is not None
        heard = bytearray()
        while b"\n" not in heard:
            chunk = await stdout.receive_some(_CHUNK_BYTES)
            heard += chunk
            if not chunk or len(heard) > _READY_MAX_BYTES:
                break
        line, newline, _ = bytes(heard).partition(b"\n")
        if not newline and not line:
            await trio.sleep_forever()  # its end, or the limit, says more than the end of a pipe
        self.ready = read_ready_line(line)

    async def _drain_stdout(self) -> None:
        await trio.lowlevel.checkpoint()
        stdout = self._process.stdout
        assert stdout is not None
        with suppress(trio.ClosedResourceError):
            async for _ in stdout:
                pass

    async def _keep_stderr(self) -> None:
        await trio.lowlevel.checkpoint()
        stderr = self._process.stderr
        assert stderr is not None
        with suppress(trio.ClosedResourceError):
            async for chunk in stderr:
                self._stderr += chunk
                del self._stderr[:-_STDERR_TAIL_BYTES]
        self._stderr_ended.set()

    async def _stop(self, grace_s: float) -> None:
        """SIGTERM, a grace, SIGKILL."""
        process = self._process
        assert process.stdin is not None
        await process.stdin.aclose()
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a stopped process takes no SIGTERM
        with trio.move_on_after(grace_s):
            await process.wait()
        if process.returncode is None:
            logger.warning("a daemon did not stop in time: killed", daemon=repr(self), grace_s=grace_s)
            self._signal(signal.SIGKILL, group=True)
        await process.wait()

    def _let_go(self) -> None:
        for pipe in (self._process.stdout, self._process.stderr):
            if isinstance(pipe, trio.lowlevel.FdStream):
                pipe.close()
        if self._process.returncode is None:
            logger.error("a daemon survives SIGKILL: it is stuck in the kernel", daemon=repr(self))

    def _signal(self, number: signal.Signals, *, group: bool = False) -> None:
        if self._process.returncode is not None:
            return  # its pid may be somebody else's by now
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self._process.pid, number)


@asynccontextmanager
async def open_daemon_process(
    argv: Sequence[str], *, start_limit_s: float, stop_grace_s: float
) -> AsyncIterator[DaemonProcess]:
    """Start a daemon, wait until it serves, and stop it at the end of the block.

    Cancellation: shielded, at most ``stop_grace_s`` + 5 s; no process is left.

    Args:
        argv: the program and its arguments.
        start_limit_s: seconds it may take until it serves.
        stop_grace_s: seconds it may take to stop in order before it is killed.

    Yields:
        The daemon, serving.

    Raises:
        UnavailableError: it cannot be started, refused to start (its own sentence), ended, or said something
            that no daemon says.
        TooSlowError: it did not serve within ``start_limit_s``.
    """
    async with open_background_nursery() as nursery:
        process = await _spawn(argv)
        daemon = DaemonProcess(process)  # no checkpoint from its birth to the block that sees to its end
        try:
            nursery.start_soon(daemon._keep_stderr)
            await _wait_ready(daemon, start_limit_s)
            nursery.start_soon(daemon._drain_stdout)
            yield daemon
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + stop_grace_s + _DEATH_S):
                await daemon._stop(stop_grace_s)
            daemon._let_go()


async def _spawn(argv: Sequence[str]) -> trio.Process:
    try:
        return await trio.lowlevel.open_process(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise UnavailableError(
            f"The sandbox daemon cannot be started: {argv[0]}: {error.strerror}."
        ) from error


async def _wait_ready(daemon: DaemonProcess, limit_s: float) -> None:
    """Whichever comes first: the line, the end, the limit."""
    outcome: list[HermesTrioError | None] = []

    async def hear(nursery: trio.Nursery) -> None:
        try:
            await daemon._hear_ready_line()
            outcome.append(None)
        except HermesTrioError as error:
            outcome.append(error)
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    async def mourn(nursery: trio.Nursery) -> None:
        how = await daemon.wait()
        outcome.append(UnavailableError(daemon.refusal() or f"{how} It never served."))
        nursery.cancel_scope.cancel()

    with trio.move_on_after(limit_s):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear, nursery)
            nursery.start_soon(mourn, nursery)
    if not outcome:
        raise TooSlowError(
            f"the sandbox daemon did not serve within {limit_s:g} s; {_quote(daemon.stderr_tail)}"
        )
    if outcome[0] is not None:
        raise outcome[0]


def read_ready_line(line: bytes) -> ReadyLine:
    """Read ``{"url": ..., "pid": ..., "epoch": ...}``; other members are ignored.

    Raises:
        UnavailableError: it is not such a line.
    """
    try:
        told = orjson.loads(line)
        match told:
            case {"url": str(url), "pid": int(pid), "epoch": int(epoch)} if url.startswith(
                ("ws://", "wss://")
            ):
                return ReadyLine(url=url, pid=pid, epoch=epoch)
    except orjson.JSONDecodeError:
        pass
    raise UnavailableError(f"What was started is not a sandbox daemon: it said {line[:200]!r}.")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _quote(stderr: str) -> str:
    said = _last_line(stderr)
    return f"its last words: {said}" if said else "it said nothing"
