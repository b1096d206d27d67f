"""The cheapest way from Python to a finished process: ``posix_spawn``, and a pidfd to wait on.

The process is spawned on the main thread on purpose: bubblewrap's ``--die-with-parent`` is bound to the
thread that forked, and a worker thread of Trio's ends after ten idle seconds.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import trio
from attrs import frozen

KEPT_OUTPUT_BYTES = 50_000


@frozen(kw_only=True)
class Finished:
    """How a process ended; the first bytes of its output, when they were asked for."""

    exit_code: int
    output: bytes = b""


async def run_process(argv: Sequence[str], *, limit_s: float, keep_output: bool = False) -> Finished | None:
    """Runs a program to its end; its standard streams are ``/dev/null`` unless the output is kept.

    Cancellation: *abandons*: the process is killed and reaped before ``Cancelled`` leaves.

    Returns:
        ``None`` when the limit passed and the process was killed.
    """
    # A memory file needs no reader beside the process, and no wait for the end of a pipe.
    output_fd = os.memfd_create("output") if keep_output else os.open(os.devnull, os.O_WRONLY)
    try:
        exit_code = await _spawn_and_wait(argv, output_fd, limit_s=limit_s)
        if exit_code is None:
            return None
        kept = os.pread(output_fd, KEPT_OUTPUT_BYTES, 0) if keep_output else b""
        return Finished(exit_code=exit_code, output=kept)
    finally:
        os.close(output_fd)


async def _spawn_and_wait(argv: Sequence[str], output_fd: int, *, limit_s: float) -> int | None:
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output_fd, 1),
        (os.POSIX_SPAWN_DUP2, output_fd, 2),
    ]
    # It takes half a millisecond, and a thread would cost more and break --die-with-parent (see above).
    pid = os.posix_spawn(  # noqa: ASYNC221
        argv[0], list(argv), dict(os.environ), file_actions=actions
    )
    exited = False
    pidfd = os.pidfd_open(pid)
    try:
        with trio.move_on_after(limit_s):
            await trio.lowlevel.wait_readable(pidfd)
            exited = True
    finally:
        os.close(pidfd)
        if not exited:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)  # noqa: ASYNC222 - it has ended, or was just killed
    return os.waitstatus_to_exitcode(status) if exited else None
