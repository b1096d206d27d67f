"""``job``: commands in the background of a slot, their arguments and their reports."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from attrs import field, frozen

JOB_SIGNALS: Final[Mapping[str, int]] = MappingProxyType(
    {"HUP": 1, "INT": 2, "QUIT": 3, "KILL": 9, "USR1": 10, "USR2": 12, "TERM": 15, "CONT": 18, "STOP": 19}
)
"""What a job can be sent, by name; the numbers are those of signal(7) on x86-64 and arm64."""


class JobAction(StrEnum):
    """What can be done with the jobs of a slot."""

    START = "start"
    """Answered once it runs."""
    LIST = "list"
    """Result data: :class:`JobListReport`."""
    LOGS = "logs"
    """Payload: what it printed from ``offset`` on, as far as it is kept; waits up to ``max_wait_s`` for
    some, unless the job is over."""
    WAIT = "wait"
    """Answered when it is over, or after ``max_wait_s``."""
    SIGNAL = "signal"
    """To its process group; ``KILL`` ends everything that came of it, whatever session that is in."""
    INPUT = "input"
    """The payload goes to its standard input; answered when it was taken, or after ``max_wait_s``."""


@frozen(kw_only=True)
class JobArguments:
    """One thing to be done with jobs of the slot. All but ``start`` and ``list`` want ``job``."""

    action: str
    """A :class:`JobAction`."""
    job: str = ""
    """Its name, as ``start`` told it."""
    command: str = ""
    shell: str = "bash"
    cwd: str = "."
    environment: Mapping[str, str] = field(factory=dict)
    allow_network: bool = False
    require_sandbox: bool = False
    limit_s: float | None = None
    """``start``: seconds after which it is ended; ``None``: the end of the lease is its end."""
    offset: int = 0
    max_bytes: int = 65_536
    follow: bool = False
    """``logs``: from where the last call with this ended, instead of ``offset``."""
    max_wait_s: float = 0.0
    signal: str = ""
    """One of :data:`JOB_SIGNALS`."""
    eof: bool = False
    """``input``: end its standard input after the payload."""


@frozen(kw_only=True)
class JobReport:
    """How a job stands."""

    job: str
    command: str
    """The beginning of it."""
    running: bool
    ending: str = ""
    """Empty while it runs; then ``exited``, ``signalled``, ``killed`` (asked for), ``limit``,
    ``output_limit``, ``swept`` (by the end of a plain command, where the host has no control groups),
    ``slot_ended`` (quiesce, another network policy, a fork; ``reason`` says which) or ``sandbox_lost``."""
    reason: str = ""
    exit_code: int | None = None
    """0..255; -1 when something else than itself or a signal ended it; 128 + signal number when one did."""
    signal: int | None = None
    age_s: float
    """Since its start; once it is over, how long it ran."""
    cpu_s: float | None = None
    """Once it is over, where the host can tell."""
    log_bytes: int = 0
    """What it has printed in all, standard output and standard error in the order of their writing."""
    lost_bytes: int = 0
    """Of these, what is no more kept: the beginning and the end are."""
    offset: int = 0
    """``logs``: where to go on."""
    first_offset: int = 0
    """``logs``: where the payload begins; later than asked for when what lies between is no more kept."""
    sent_bytes: int = 0
    """``input``: how much of the payload was taken."""
    sandboxed: bool = True
    network_isolated: bool = False
    isolation: str = ""


@frozen(kw_only=True)
class JobListReport:
    """The jobs of the slot, oldest first: those that run, and the last ones that are over."""

    jobs: tuple[Mapping[str, Any], ...] = ()
    """A :class:`JobReport` each."""
