"""A start that is given up leaves nobody behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import trio

from sandbox_daemon.isolation.launch import _abort

pytestmark = pytest.mark.slow


def children_of(pid: int) -> list[str]:
    """As the kernel lists them."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def wait_ended(pid: int) -> None:
    """Whoever asks next still finds it."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_launcher_takes_the_child_along_that_waits_for_it(stopped: bool) -> None:
    """Killed alone, bubblewrap leaves a child that waits for its map of uids for ever."""
    ours, theirs = socket.socketpair()
    launcher = subprocess.Popen(["/bin/bash", "-c", "sleep 1000 & wait"])  # noqa: ASYNC220 - it is to be killed
    with theirs, trio.fail_after(10):
        while not (pids := children_of(launcher.pid)):  # noqa: ASYNC110 - nothing tells of a fork
            await trio.sleep(0.005)
        child = os.pidfd_open(int(pids[0]))
        if stopped:
            launcher.send_signal(signal.SIGSTOP)
        await _abort(launcher, ours)
        await trio.lowlevel.wait_readable(child)
        os.close(child)
    assert launcher.returncode == -signal.SIGKILL


async def test_a_launcher_that_has_ended_is_no_trouble() -> None:
    """Seen or not."""
    for seen in (False, True):
        ours, theirs = socket.socketpair()
        launcher = subprocess.Popen(["/bin/true"])  # noqa: ASYNC220 - it ends at once
        wait_ended(launcher.pid)
        if seen:
            launcher.wait()
        with theirs:
            await _abort(launcher, ours)
        assert launcher.returncode == 0
