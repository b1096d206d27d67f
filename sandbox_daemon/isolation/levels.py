"""PURE: the levels of isolation, and what a probe found out.

::

    ns      own uid, user/pid/mount/ipc/uts/net namespaces, seccomp, agent as PID 1     any code
    uid     own uid, seccomp, rlimits, kill(-1) as that uid                              code that is merely
    careless none    a session of its own and a sweep of descendants                              trusted
    code only

A level is found once, when the daemon starts, and never changed: nothing is ever run again at a lower one.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from attrs import frozen


class Level(StrEnum):
    """How much stands between a command and the host."""

    NS = "ns"
    UID = "uid"
    NONE = "none"


class Policy(StrEnum):
    """What an operator asks for."""

    REQUIRED = "required"
    """``ns`` or no start."""
    AUTO = "auto"
    """``ns``, else ``uid``, loudly; no start where neither holds."""
    NONE = "none"
    """``none``, by name."""


@frozen(kw_only=True)
class Missing:
    """Something this host lacks.

    Args:
        name: mechanism or level.
        why: what was tried and what happened.
        mend: one sentence that tells a person what to do about it.
    """

    name: str
    why: str
    mend: str


@frozen(kw_only=True)
class Isolation:
    """The level in force and the mechanisms behind it.

    Args:
        level: the level.
        mechanisms: what enforces what, for instance ``{"network": "network namespace"}``.
        missing: what would make it better.
        interpreter: absolute path of the Python that runs the agents.
        bwrap: absolute path of bubblewrap; empty below level ``ns``.
        seccomp: whether the kernel takes our filter on this machine.
        volumes: whether each slot can have a file system of its own.
        layers: whether workspaces can lie on layers that slots share (overlayfs with maps of owners).
    """

    level: Level
    mechanisms: Mapping[str, str]
    missing: tuple[Missing, ...] = ()
    interpreter: str = ""
    bwrap: str = ""
    seccomp: bool = False
    volumes: bool = False
    layers: bool = False


def cuts_network(isolation: Isolation) -> bool:
    """Whether a slot can be kept off the network: by a namespace of its own, or by refusing it sockets."""
    return isolation.level is Level.NS or (isolation.level is Level.UID and isolation.seccomp)


def as_json(isolation: Isolation) -> dict[str, Any]:
    """What hello, health and doctor tell about it, as JSON values."""
    return {
        "level": isolation.level.value,
        "mechanisms": dict(isolation.mechanisms),
        "missing": [{"name": gap.name, "why": gap.why, "mend": gap.mend} for gap in isolation.missing],
        "seccomp": isolation.seccomp,
    }
