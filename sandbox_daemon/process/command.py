"""PURE: a command to run, and how it went."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final, Protocol

from attrs import frozen

from sandbox_daemon.isolation.policy import SlotLimits
from sandbox_daemon.process.output import BoundedCapture, Order

MAX_INLINE_COMMAND: Final = 100 * 1024
"""execve takes 128 KiB for one argument; longer commands are sourced from a memfd."""
MAX_COMMAND_BYTES: Final = 1024 * 1024


class Sink(Protocol):
    """Where output goes as it comes. What it does not take stays in the pipe, and the command waits."""

    resume: Callable[[], None]
    """Set by whoever feeds it: to be called when there is room again."""

    def feed(self, stream: int, data: memoryview | bytes) -> bool:
        """Takes a piece of a stream, 1 or 2. False: read no more until ``resume`` was called."""


@frozen(kw_only=True)
class CommandSpec:
    """One command, checked.

    Args:
        command: the shell text.
        shell: ``bash`` or ``sh``.
        cwd: relative to the workspace.
        environment: additions, as :func:`protocol.pack_environment` packs them.
        stdin: ``b""`` means ``/dev/null``.
        max_output_bytes: kept of each stream.
        max_drained_bytes: of both streams together; a command that prints more is ended.
        no_output_limit_s: longest silence; ``None`` allows any.
        hashed: count the SHA-256 of each stream.
        sink: sees all output as it comes; ``None``: nobody does.
        code_fd: a descriptor that the command finds as number 9; -1: none. For short commands only.
        stdin_fd: its standard input instead of ``stdin``; -1: none.
    """

    command: bytes
    shell: bytes = b"bash"
    cwd: bytes = b"."
    environment: bytes = b""
    stdin: bytes = b""
    max_output_bytes: int = 65_536
    max_drained_bytes: int = SlotLimits().max_drained_bytes
    no_output_limit_s: float | None = None
    hashed: bool = False
    sink: Sink | None = None
    code_fd: int = -1
    stdin_fd: int = -1


class Ending(StrEnum):
    """Terminal states of a command."""

    EXITED = "exited"
    LIMIT = "limit"
    CANCELLED = "cancelled"
    OUTPUT_LIMIT = "output_limit"
    NO_OUTPUT_LIMIT = "no_output_limit"
    OOM = "oom"
    PIDS_LIMIT = "pids_limit"
    SANDBOX_LOST = "sandbox_lost"


@frozen(kw_only=True)
class Exit:
    """What the agent reported of a command that ran.

    Args:
        status: wait status of the shell.
        cpu_us: CPU time of all its processes that were waited for.
        peak_kib: largest resident size among them; at least the agent's own, from which they are spawned.
        swept: processes that outlived the shell and were killed.
        held: one of them had an output pipe open.
    """

    status: int
    cpu_us: int
    peak_kib: int
    swept: int
    held: bool


@frozen(kw_only=True)
class Refusal:
    """The agent could not start the command: ``protocol.REASON_*`` and an errno."""

    reason: int
    code: int


@frozen(kw_only=True)
class Ran:
    """How a command went.

    Args:
        ending: decided once.
        report: ``None`` when the agent was lost or had to be killed.
        stdout: what is kept of it.
        stderr: likewise.
        order: in which the two came.
        duration_s: from the request to the end of everything.
        kill_ms: how long the ladder took, when it was climbed.
        dead: false: it could not be shown that everything is gone; the slot must not be used again.
    """

    ending: Ending
    report: Exit | Refusal | None
    stdout: BoundedCapture
    stderr: BoundedCapture
    order: Order
    duration_s: float
    kill_ms: float | None = None
    dead: bool = True
