"""PURE: what a probe's answers mean: which mechanism enforces what here, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import evolve, frozen

from sandbox_daemon.isolation.levels import Isolation, Level, Missing


@frozen(kw_only=True)
class Setting:
    """In what the probe's slot ran.

    Args:
        root: the daemon is root.
        grouped: calls have control groups of their own.
        held: controllers that hold the slot's limits.
        reasons: why a controller does not.
    """

    root: bool
    grouped: bool
    held: frozenset[str]
    reasons: Mapping[str, str]


def described(candidate: Isolation, answers: Mapping[str, bool], setting: Setting) -> Isolation:
    """The candidate with its mechanisms, and what the attacked slot failed to hold."""
    mechanisms = {
        "processes": _containment(candidate.level, setting),
        "files": "mount namespace, openat2" if candidate.level is Level.NS else "openat2",
        "identity": _identity(candidate.level, setting),
        "system calls": "seccomp filter" if candidate.seccomp else "none",
        "network": _network(candidate),
        "workspaces": "overlayfs, layers shared" if candidate.layers else "copied",
        **_limits(candidate, answers, setting),
    }
    missing = [*candidate.missing, *_open_network(candidate, answers), *_unbounded(mechanisms, setting)]
    return evolve(candidate, mechanisms=mechanisms, missing=tuple(missing))


def no_volumes(why: str, mend: str = "") -> Missing:
    """The sentence for a host without volumes."""
    default = "Give the daemon /dev/loop-control, or put the data directory on a file system of its own."
    return Missing(name="disk limit", why=why.rstrip(" ."), mend=mend or default)


def no_layers(why: str) -> Missing:
    """The sentence for a host whose workspaces are copied."""
    mend = "Use Linux 5.19 or newer with overlayfs, so that bases are shared and a fork copies nothing."
    return Missing(name="shared layers", why=why.rstrip(" ."), mend=mend)


def _containment(level: Level, setting: Setting) -> str:
    if setting.grouped and level is not Level.NS:
        return "control group of each call"
    return {
        Level.NS: "PID namespace",
        Level.UID: "kill(-1) as the slot's uid",
        Level.NONE: "subreaper",
    }[level]


def _identity(level: Level, setting: Setting) -> str:
    return "a uid per slot" if setting.root and level is not Level.NONE else "the daemon's uid"


def _network(candidate: Isolation) -> str:
    if candidate.level is Level.NS:
        return "network namespace"
    return "seccomp: no sockets but AF_UNIX" if candidate.seccomp else "none"


def _limits(candidate: Isolation, answers: Mapping[str, bool], setting: Setting) -> dict[str, str]:
    group = "control group"
    processes = group if "pids" in setting.held else "RLIMIT_NPROC"
    memory = group if "memory" in setting.held else "RLIMIT_DATA of each process"
    return {
        "process count": processes if answers["process count"] else "none",
        "memory": memory if answers["memory"] else "none",
        "cpu": group if "cpu" in setting.held else "none",
        "disk": "a file system per slot" if candidate.volumes and answers["disk"] else "RLIMIT_FSIZE",
        "calls side by side": "yes" if setting.grouped else "no",
    }


_OPEN_NETWORK: Final = Missing(
    name="network",
    why="slots reach the host's network whatever a call asks for",
    mend="Allow user namespaces, or a seccomp filter, so that the network can be cut.",
)


def _open_network(candidate: Isolation, answers: Mapping[str, bool]) -> list[Missing]:
    return [_OPEN_NETWORK] if candidate.level is Level.UID and not answers["network"] else []


_CONTROLLERS: Final = {"process count": "pids", "memory": "memory", "cpu": "cpu"}
_MEND_GROUPS: Final = (
    "Run the daemon as root, or in a delegated group: systemd-run --user --scope -p Delegate=yes COMMAND."
)


def _unbounded(mechanisms: Mapping[str, str], setting: Setting) -> list[Missing]:
    missing = []
    for name, controller in _CONTROLLERS.items():
        if mechanisms[name] != "control group":
            reason = setting.reasons.get(controller, "no control group holds it")
            softer = "" if mechanisms[name] == "none" else f"; {mechanisms[name]} has to do"
            missing.append(Missing(name=f"{name} limit", why=reason + softer, mend=_MEND_GROUPS))
    if not setting.grouped:
        reason = setting.reasons.get("kill", "no control group can be made for it")
        why = f"{reason}; the calls of a slot run one after another"
        missing.append(Missing(name="a group for each call", why=why, mend=_MEND_GROUPS))
    return missing
