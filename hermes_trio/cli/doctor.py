"""The verb ``doctor``: what this host can isolate and limit, what is missing, and what mends it.

The daemon knows how to find out, by doing; the runtime does not import it. So the daemon's own program is
asked, as it will be when a run needs it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import trio
from attrs import asdict, frozen
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hermes_trio.errors import UnavailableError

PROBE_LIMIT_S = 60.0
"""A probe starts a throw-away slot or two; on a machine under full load that has taken ten seconds."""

FULL_LEVEL = "ns"
"""The only level at which untrusted code may run."""

EXIT_FINE = 0
EXIT_ENVIRONMENT = 3

_LEVELS: Mapping[str, str] = {
    "ns": "namespaces of its own, fit for untrusted code",
    "uid": "a user of its own, fit for code that is merely careless",
    "none": "nothing stands between a command and this host: trusted code only",
}


@frozen(kw_only=True)
class Host:
    """What a report about a host begins with."""

    python: str
    kernel: str
    machine: str
    cores: int
    """That this process may use, which in a container is fewer than there are."""
    memory_bytes: int
    root: bool


@frozen(kw_only=True)
class Missing:
    """A mechanism this host lacks."""

    name: str
    why: str
    mend: str


@frozen(kw_only=True)
class Isolation:
    """What the daemon's probe found."""

    level: str
    mechanisms: Mapping[str, str]
    missing: tuple[Missing, ...]


@frozen(kw_only=True)
class Diagnosis:
    """All that ``doctor`` says."""

    host: Host
    isolation: Isolation

    @property
    def is_fine(self) -> bool:
        """Whether untrusted code may run here."""
        return self.isolation.level == FULL_LEVEL


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb and its options."""
    parser = subparsers.add_parser(
        "doctor",
        help="what this host can isolate and limit, and what mends what is missing",
        description="Finds out by doing what this host can isolate and limit. Exit code 0: everything that "
        "untrusted code needs; 3: something is missing, and the report says what mends it.",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Diagnose this host, print the report, return the exit code.

    Raises:
        UnavailableError: the daemon's program could not be asked.
    """
    diagnosis = trio.run(diagnose)
    if arguments.json:
        sys.stdout.write(json.dumps(asdict(diagnosis), indent=2) + "\n")
    else:
        print_report(diagnosis, Console())
    return EXIT_FINE if diagnosis.is_fine else EXIT_ENVIRONMENT


async def diagnose(
    command: Sequence[str] = (sys.executable, "-m", "sandbox_daemon", "--probe", "--json"),
) -> Diagnosis:
    """Look at the host and ask the daemon's program what it can isolate here.

    Cancellation: *abandons*: the program is told to stop.

    Args:
        command: the daemon's program with the options that make it print its probe.

    Raises:
        UnavailableError: it cannot be started, fails, takes too long, or prints something else.
    """
    return Diagnosis(host=read_host(), isolation=read_isolation(await _ask(command)))


async def _ask(command: Sequence[str]) -> str:
    with trio.move_on_after(PROBE_LIMIT_S) as scope:
        try:
            answer = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        except OSError as error:
            raise UnavailableError(f"The daemon's program cannot be started: {error}.") from error
        if answer.returncode != 0:
            raise UnavailableError(_failure(answer))
        return answer.stdout.decode("utf-8", "replace")
    assert scope.cancelled_caught
    raise UnavailableError(f"The daemon's probe took longer than {PROBE_LIMIT_S:g} s.")


def _failure(answer: subprocess.CompletedProcess[bytes]) -> str:
    words = answer.stderr.decode("utf-8", "replace").strip().splitlines()
    last = words[-1] if words else f"exit code {answer.returncode}"
    return f"The daemon's probe failed: {last}."


def read_isolation(text: str) -> Isolation:
    """Read what the probe printed: the last line, because a log may stand above it.

    Raises:
        UnavailableError: it is not what a probe prints.
    """
    try:
        report = json.loads(text.strip().splitlines()[-1])
        return Isolation(
            level=str(report["level"]),
            mechanisms={str(name): str(what) for name, what in report["mechanisms"].items()},
            missing=tuple(_read_missing(item) for item in report["missing"]),
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UnavailableError(f"The daemon's probe printed no report: {text.strip()[:200]!r}.") from error


def _read_missing(item: Mapping[str, Any]) -> Missing:
    return Missing(name=str(item["name"]), why=str(item["why"]), mend=str(item["mend"]))


def read_host() -> Host:
    """What Python and the kernel say about this machine."""
    return Host(
        python=platform.python_version(),
        kernel=platform.release(),
        machine=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        root=os.geteuid() == 0,
    )


def print_report(diagnosis: Diagnosis, console: Console) -> None:
    """Three short tables: the host, what it can do, what it lacks."""
    console.print(_host_table(diagnosis.host))
    console.print(_isolation_table(diagnosis.isolation))
    if diagnosis.isolation.missing:
        console.print(_missing_table(diagnosis.isolation.missing))
    if diagnosis.is_fine:
        console.print("[green]This host can run untrusted code.[/green]")
    else:
        console.print("[red]This host cannot isolate untrusted code.[/red]")


def _host_table(host: Host) -> Table:
    rows = {
        "Python": host.python,
        "kernel": f"{host.kernel} {host.machine}",
        "cores": str(host.cores),
        "memory": f"{host.memory_bytes / 2**30:.1f} GiB",
        "root": "yes" if host.root else "no",
    }
    return _table("host", rows.items())


def _isolation_table(isolation: Isolation) -> Table:
    level = f"{isolation.level}: {_LEVELS.get(isolation.level, 'unknown to this version')}"
    return _table("isolation", [("level", level), *isolation.mechanisms.items()])


def _missing_table(missing: Iterable[Missing]) -> Table:
    rows = [(item.name, item.why, item.mend) for item in missing]
    return _table("not to be had here", rows, "missing", "why", "what mends it")


def _table(title: str, rows: Iterable[Sequence[str]], *columns: str) -> Table:
    """As plain text: a bracket in what a kernel says is no markup."""
    table = Table(*columns, title=title, title_justify="left", show_header=bool(columns))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
