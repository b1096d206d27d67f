"""Where figures were taken: enough to judge whether two reports may be compared. No host, user or path."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from attrs import frozen

from benchmarks.lib.children import CHECKOUT

PACKAGES = ("hermes-trio", "trio", "trio-websocket", "httpx", "hypercorn", "starlette", "aiohttp", "orjson")


@frozen(kw_only=True)
class Environment:
    """One machine at one moment."""

    taken_at: str
    """UTC, ISO 8601, when the run began."""
    cpu_model: str
    cores: int
    """That this process may use."""
    memory_bytes: int
    kernel: str
    system: str
    python: str
    versions: Mapping[str, str]
    """Of the packages and programs that matter; those not installed are left out."""
    git_revision: str
    """Of the checkout; ends in ``+`` when tracked files were changed; empty outside of one."""
    load_average_1m: float
    """Before the run: above the number of cores, only ratios within rounds mean anything."""
    root: bool


def capture_environment() -> Environment:
    """Looks around. Starts two short-lived programs (git, bwrap) where they exist."""
    return Environment(
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu_model=_cpu_model(Path("/proc/cpuinfo")),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release(),
        system=_system_name(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        versions=_versions(),
        git_revision=_git_revision(),
        load_average_1m=round(os.getloadavg()[0], 2),
        root=os.geteuid() == 0,
    )


def _cpu_model(cpuinfo: Path) -> str:
    """``model name`` on x86; elsewhere the machine's name has to do."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _system_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    bwrap = _first_line(["bwrap", "--version"]).removeprefix("bubblewrap ")
    return {**found, "bubblewrap": bwrap} if bwrap else found


def _git_revision() -> str:
    git = ["git", "-C", str(CHECKOUT)]
    revision = _first_line([*git, "rev-parse", "--short=12", "HEAD"])
    changed = _first_line([*git, "status", "--porcelain", "--untracked-files=no"])
    return f"{revision}+" if revision and changed else revision


def _first_line(argv: list[str]) -> str:
    """What a program says first; empty when it is not there or fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.partition("\n")[0].strip() if done.returncode == 0 else ""
