"""Processes as `/proc` tells of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sandbox_daemon.isolation.processes import descendants, is_dead, living

_STRANGER = 65_533
_NAMED = """
import ctypes, sys
libc = ctypes.CDLL(None)
libc.prctl(15, b"a\\nUid:\\t1\\t1\\t1\\t1\\nb", 0, 0, 0)  # PR_SET_NAME
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def named(**options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose name looks like a line of its status."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(["/usr/bin/python3", "-I", "-S", "-c", _NAMED], **pipes, **options) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"\n"
        yield process
        process.stdin.close()


@pytest.mark.root
def test_the_living_are_found_by_any_of_their_uids() -> None:
    """The real one too, which is not whose folder it is."""
    with named(user=_STRANGER) as process:
        assert dict(living())[process.pid] == {_STRANGER}
    with named(preexec_fn=lambda: os.setresuid(_STRANGER, 0, 0)) as process:
        assert os.stat(f"/proc/{process.pid}").st_uid == 0
        assert dict(living())[process.pid] == {0, _STRANGER}


def test_one_with_a_strange_name_lives_and_has_its_own_uid() -> None:
    """What it calls itself is no line of its status."""
    with named() as process:
        assert dict(living())[process.pid] == {os.getuid()}
        assert not is_dead(process.pid)
        assert process.pid in descendants(os.getpid())


def test_the_dead_are_dead_before_they_are_collected() -> None:
    """And after it."""
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_dead(process.pid)
        assert process.pid not in dict(living())
        assert process.pid in descendants(os.getpid())
    assert is_dead(process.pid)
    assert process.pid not in descendants(os.getpid())
