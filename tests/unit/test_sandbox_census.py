"""Which processes are below another, as this host numbers them."""

from __future__ import annotations

import os
import subprocess

from sandbox_daemon.process import census as census_module
from sandbox_daemon.process.census import census


def test_children_of_children_are_counted_and_zombies_are_not() -> None:
    """With their command lines, oldest first."""
    script = "sleep 61.5 & read line"
    with (
        subprocess.Popen(["/bin/true"]) as zombie,
        subprocess.Popen(["/bin/bash", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell,
    ):
        try:
            os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
            while "sleep 61.5" not in census(os.getpid()).commands:
                os.sched_yield()
            report = census(os.getpid())
            mine = dict(zip(report.commands, report.pids, strict=True))
            assert mine[f"/bin/bash -c {script}"] == shell.pid
            assert report.total >= 2
            assert zombie.pid not in report.pids
            assert all(age >= 0 for age in report.ages_s)
            assert list(report.ages_s) == sorted(report.ages_s, reverse=True)
            assert census(mine["sleep 61.5"]).total == 0
        finally:
            os.kill(census(shell.pid).pids[0], 9)
            shell.kill()


def test_a_process_that_is_gone_is_left_out() -> None:
    """Between being listed and being read, anything can end."""
    assert census_module._process(2**22 + 1, 1.0) is None
