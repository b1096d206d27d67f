"""``bash`` and ``bash_stateful``: their arguments and reports."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen


@frozen(kw_only=True)
class BashArguments:
    """One shell command. Standard input is the call's payload; empty means ``/dev/null``."""

    command: str
    allow_network: bool = False
    require_sandbox: bool = False
    shell: str = "bash"
    """``bash`` or ``sh``: run as ``/bin/<shell> -c command``."""
    cwd: str = "."
    """Relative to the workspace."""
    environment: Mapping[str, str] = field(factory=dict)
    """Added to the slot's clean environment."""
    max_output_bytes: int = 65_536
    """Kept of each stream, half of it head and half tail; totals are counted exactly."""
    no_output_limit_s: float | None = None
    """Longest time in which the command may print nothing; ``None``: any."""
    sha256: bool = False
    """Also report the SHA-256 of each stream, whole."""
    parallel: bool = False
    """Run beside other such calls of the slot, where the host can tell their processes apart."""


@frozen(kw_only=True)
class BashReport:
    """How the command ended. Units are in the names; ``None``: this host cannot tell."""

    exit_code: int
    """0..255; -1 when a limit or a cancel ended it; 128 + signal number when a signal did."""
    signal: int | None = None
    ending: str = "exited"
    """``exited``, ``signalled``, ``limit``, ``cancelled``, ``output_limit``, ``no_output_limit``, ``oom``,
    ``pids_limit``, ``sandbox_lost``. With ``oom`` and ``pids_limit`` the command ended itself, with the exit
    code that is told, after the slot had run into that limit."""
    duration_s: float
    kill_ms: float | None = None
    """How long it took until the whole process tree was gone, when it had to be killed."""
    stdout_bytes: int
    """Exact totals, whatever was kept."""
    stderr_bytes: int
    truncated: bool
    pipe_still_held: bool = False
    """A child outlived the command with its output open; it was killed."""
    cpu_s: float | None = None
    peak_memory_bytes: int | None = None
    sandboxed: bool
    network_isolated: bool
    isolation: str
    """Level: ``ns``, ``uid`` or ``none``."""
    order: tuple[tuple[int, int], ...] = ()
    """In which order the streams came, when both did: runs of (1 or 2, bytes), as the daemon read them; what
    comes within the first milliseconds counts as standard output first. Of a long alternation the first and
    the last 256 runs; the totals say what is missing between them."""
    oom_kills: int = 0
    """Processes of the slot that the kernel killed for memory meanwhile."""
    forks_refused: int = 0
    """How often the slot's limit of processes refused one meanwhile."""
    stdout_sha256: str | None = None
    stderr_sha256: str | None = None


@frozen(kw_only=True)
class StatefulArguments:
    """One command for the slot's stateful shell. Its standard input is ``/dev/null``."""

    command: str
    allow_network: bool = False
    """A change of it costs the shell: it is started anew, and the report says so."""
    require_stateful_sandbox: bool = False
    max_output_bytes: int = 65_536


@frozen(kw_only=True)
class StatefulReport(BashReport):
    """How the command went, and the shell.

    ``ending`` may also be ``session_exited``: the shell itself ended, by ``exit``, ``exec`` or ``set -e``,
    with the exit code that is told.
    """

    stateful: bool = True
    cwd: str = ""
    """The shell's directory afterwards; empty when it has ended."""
    session: int = 1
    """Which shell of this lease it was, counted from 1."""
    session_new: bool = False
    """This was its first command: nothing of earlier ones is known to it."""
    session_before: str = ""
    """How the shell before it ended, if there was one."""
    session_exited: bool = False
    session_lost: bool = False
    """The command was ended, and the shell with it because it did not come back."""
    background_bytes: int = 0
    """What processes in the background have printed since the call before."""
    background_output: str = ""
    """The end of it, at most 8 KiB."""
