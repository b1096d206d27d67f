"""What holds for all tests: which of them this machine can run, and how hard hypothesis tries."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, settings

from hermes_trio.testing.spans import RecordedSpans, recorded_spans
from sandbox_daemon.isolation.levels import Isolation, Level
from sandbox_daemon.isolation.probe import survey

_NOBODY = 65534

# Locked by the processes that run this checkout's tests; folders, so that nothing has to be made or removed.
_DOOR = Path(__file__).parent
_ROOM = _DOOR.parent

# A shared machine with two cores is no stopwatch: examples have no deadline, slow generation is no failure.
settings.register_profile("ci", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", settings.get_profile("ci"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@cache
def _why_no_root() -> str:
    return "" if os.geteuid() == 0 else "needs root"


@cache
def _why_no_bubblewrap() -> str:
    """By doing: an installed program proves nothing where user namespaces are switched off."""
    command = ["bwrap", "--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "/bin/true"]
    # As root it would work even where it must not be used: the daemon never starts it as root either.
    drop = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    whole = [*drop, *command] if os.geteuid() == 0 else command
    try:
        run = subprocess.run(whole, cwd="/", capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError as error:
        return f"needs bubblewrap: {error.filename} is not installed"
    except subprocess.TimeoutExpired:
        return "needs bubblewrap, which hangs here"
    return f"needs bubblewrap, which fails here: {run.stderr.strip()}" if run.returncode else ""


@cache
def _found() -> Isolation:
    """What this host holds at best: found by starting a slot and attacking it, as the daemon does."""
    with tempfile.TemporaryDirectory() as folder:
        return trio.run(survey, Path(folder))


def _why_not(wanted: str, mechanism: str, names: tuple[str, ...]) -> str:
    """What the probe says is missing where one of these mechanisms is another."""
    found = _found()
    if all(found.mechanisms[name] == mechanism for name in names):
        return ""
    reasons = {item.why for item in found.missing if item.name.removesuffix(" limit") in names}
    return f"needs {wanted}: {'; '.join(sorted(reasons)) or f'level {found.level.value} has none'}"


@cache
def _why_no_cgroups() -> str:
    return _why_not("control groups", "control group", ("process count", "memory", "cpu"))


@cache
def _why_no_volumes() -> str:
    return _why_not("a file system per slot", "a file system per slot", ("disk",))


_NEEDS = {
    "root": _why_no_root,
    "bubblewrap": _why_no_bubblewrap,
    "cgroups": _why_no_cgroups,
    "volumes": _why_no_volumes,
}


@pytest.fixture(name="recorded_spans")
def _recorded_spans() -> Iterator[RecordedSpans]:
    """The spans that this process makes."""
    with recorded_spans() as recorded:
        yield recorded


@pytest.fixture(scope="session")
def probe_isolation() -> Isolation:
    """What this host holds at best. Hostile commands are not run where nothing would hold them."""
    found = _found()
    if found.level is Level.NONE:
        pytest.skip("needs level ns or uid: the tests' commands would reach the host")
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip by name what this machine cannot run."""
    for item in items:
        for marker, why in _NEEDS.items():
            if item.get_closest_marker(marker) is not None and why():
                item.add_marker(pytest.mark.skip(reason=why()))


@contextmanager
def _locked(folder: Path, mode: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, mode)
        yield
    finally:
        os.close(descriptor)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Beside the tests of other processes, unless it is to be alone."""
    alone = item.get_closest_marker("alone") is not None
    with ExitStack() as room:
        with _locked(_DOOR, fcntl.LOCK_EX):  # who waits to be alone in the room lets nobody in before it
            room.enter_context(_locked(_ROOM, fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line that says what a green run did not show."""
    skipped = (report.longrepr for report in terminalreporter.getreports("skipped"))
    reasons = (where[2].removeprefix("Skipped: ") for where in skipped if isinstance(where, tuple))
    left_out = Counter(reason for reason in reasons if reason.startswith("needs "))
    if left_out:
        parts = ", ".join(f"{count} ({why})" for why, count in sorted(left_out.items()))
        terminalreporter.section("left out on this machine")
        terminalreporter.write_line(f"tests not run: {parts}")
