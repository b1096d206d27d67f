"""What a launch believes of a hello, and what it does not."""

from __future__ import annotations

import os

import pytest
from attrs import evolve

from sandbox_daemon.agent import protocol
from sandbox_daemon.isolation import launch as room
from sandbox_daemon.isolation.host import SystemLayout
from sandbox_daemon.isolation.levels import Level
from sandbox_daemon.isolation.policy import Launch
from sandbox_daemon.process.outcome import AgentStartError

NS = Launch(
    level=Level.NS,
    workspace="/w",
    layout=SystemLayout(links=(), folders=()),
    interpreter="/usr/bin/python3",
    uid=70_000,
    seccomp=True,
)


def hello(
    *,
    kind: int = protocol.HELLO,
    version: int = protocol.VERSION,
    pid: int = 1,
    capabilities: int = 0,
    flags: int = 3,
) -> bytes:
    """A hello that says so."""
    if kind != protocol.HELLO:
        return protocol.pack(kind, 0, (1,))
    return protocol.pack(kind, 0, (version, pid, 1000, 1000, capabilities, flags))


def test_a_good_hello_is_believed() -> None:
    """At each level."""
    room._check_hello(NS, hello())
    room._check_hello(evolve(NS, level=Level.UID), hello(pid=4711))
    room._check_hello(evolve(NS, level=Level.NONE, seccomp=False), hello(pid=4711, capabilities=7, flags=1))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff", "malformed"),
        (hello(kind=protocol.WRITTEN), "no hello of this version"),
        (hello(version=9), "no hello of this version"),
        (hello(flags=2), "can gain privileges"),
        (hello(flags=1), "without the seccomp filter"),
        (hello(capabilities=1), "holds capabilities: 0x1"),
        (hello(pid=2), "process 2 of its namespace"),
    ],
)
def test_a_bad_hello_says_what_is_wrong_with_it(data: bytes, words: str) -> None:
    """Decided here, never from what a command prints."""
    with pytest.raises(AgentStartError, match=words):
        room._check_hello(NS, data)


def test_the_kernels_word_counts_more_than_the_agents() -> None:
    """This process is no agent: wrong uid, and it shares every namespace with the daemon."""
    with pytest.raises(AgentStartError, match="runs as uid 4711, not 70000"):
        room._check_kernel(NS, os.getpid(), 4711)
    with pytest.raises(AgentStartError, match="shares the host's user namespace"):
        room._check_kernel(NS, os.getpid(), 70_000)
    with pytest.raises(AgentStartError, match="it is gone"):
        room._check_kernel(NS, 1 << 22, 70_000)
    room._check_kernel(evolve(NS, level=Level.UID), os.getpid(), 70_000)
    room._check_kernel(evolve(NS, level=Level.NONE, uid=None), os.getpid(), os.getuid())


def test_a_hello_without_credentials_is_none() -> None:
    """They come from the kernel, with the message."""
    with pytest.raises(AgentStartError, match="without credentials"):
        room._credentials([])


def test_a_launcher_that_cannot_be_run_is_told_by_name() -> None:
    """Not as an OSError."""
    import socket

    launch = evolve(NS, level=Level.NONE, interpreter="/nonexistent/python3", uid=None)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(AgentStartError, match="/nonexistent/python3 could not be run"):
        room._fork(launch, code_fd=0, sock=theirs, complaints=1)


def test_a_complaint_is_the_last_thing_that_was_said() -> None:
    """One line of it."""
    descriptor = os.memfd_create("test")
    assert room._complaint(descriptor) == "without a word"
    os.write(descriptor, b"Traceback\n  file\nOSError: seccomp: Invalid argument\n\n")
    assert room._complaint(descriptor) == "OSError: seccomp: Invalid argument"
    os.close(descriptor)
