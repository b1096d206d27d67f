"""PURE: from what a slot shall be to the command line that makes it so.

Order of a launch at level ``ns``: the daemon forks, drops to the slot's own uid and gid, and only then runs
bubblewrap: started as root it would map its user to the host's root and contain nothing (measured: shadow
readable, core_pattern writable). ``--die-with-parent`` is not used: it is bound to the *thread* that forked,
and a thread of Trio's cache ends after 10 s. The agent's socket does that job.
"""

from __future__ import annotations

import os
from collections.abc import Container
from pathlib import Path
from typing import Final, TypeAlias

from attrs import frozen

from sandbox_daemon.agent import protocol
from sandbox_daemon.agent.bundle import BOOT
from sandbox_daemon.isolation.etc import HOME, INNER_NAME, INNER_UID
from sandbox_daemon.isolation.hierarchies import Bounds
from sandbox_daemon.isolation.host import SystemLayout
from sandbox_daemon.isolation.levels import Level
from sandbox_daemon.isolation.seccomp import build_filter

WORKSPACE = HOME
_TEMPORARY = "/tmp"  # noqa: S108 - the slot's own, bounded, empty at each start of its agent
_TEMPORARY_2 = "/var/tmp"  # noqa: S108 - a link to it
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - likewise
_MIB = 1024 * 1024


@frozen(kw_only=True)
class SlotLimits:
    """Bounds of one slot. All configurable; 0 leaves a bound to the host.

    Args:
        max_processes: processes and threads at once, by control group, else by RLIMIT_NPROC of its uid.
        memory_bytes: memory, page cache, ``/tmp`` and ``/dev/shm`` together and no swap, by control group;
            else RLIMIT_DATA of each process.
        cpus: processor time, in cores, by control group only.
        max_open_files: RLIMIT_NOFILE of each process.
        max_file_bytes: RLIMIT_FSIZE: the largest file.
        disk_bytes: size of the file system that the workspace is on, where the host has volumes.
        max_files: its inodes.
        max_drained_bytes: a command that prints more, both streams together, is ended.
        ptrace: debuggers may be used inside; nobody else is there to trace.
        tmp_bytes: size of ``/tmp`` and of ``/dev/shm``, each; memory until it is freed, and at most a
            quarter of ``memory_bytes``.
    """

    max_processes: int = 512
    memory_bytes: int = 1024 * _MIB
    cpus: float = 1.0
    max_open_files: int = 1024
    max_file_bytes: int = 2 * 1024 * _MIB
    disk_bytes: int = 2 * 1024 * _MIB
    max_files: int = 200_000
    max_drained_bytes: int = 4 * 1024 * _MIB
    ptrace: bool = True
    tmp_bytes: int = 256 * _MIB


@frozen
class LayerSource:
    """A layer below a workspace: a folder on a device."""

    device: str
    path: str


@frozen
class Bind:
    """A folder of the host to mount."""

    source: str
    target: str


@frozen
class Device:
    """A file system on a device to mount; its owners go through ``idmap``, -1: as they are."""

    source: str
    target: str
    idmap: int = -1
    read_only: bool = False


@frozen
class Overlay:
    """A workspace on layers: ``lower`` from top to bottom, all of it below :data:`STAGE`."""

    target: str
    lower: tuple[str, ...]
    upper: str
    work: str


Mount: TypeAlias = Bind | Device | Overlay


@frozen(kw_only=True)
class Launch:
    """One agent's launch.

    Args:
        level: level of isolation.
        workspace: the slot's folder, on its device or, without one, on the host.
        device: of the file system that the workspace is on; empty: the host's.
        idmap: the map of owners that its mounts go through; -1: none.
        layers: what lies below the workspace, from bottom to top; needs a device.
        etc: the folder for ``/etc``; level ``ns`` only.
        etc_binds: names below ``/etc`` to bind from the host.
        layout: the system's top-level folders.
        interpreter: runs the agent.
        bwrap: absolute path; level ``ns`` only.
        uid: the slot's own, when the daemon is root; ``None`` keeps the daemon's.
        network: leave the host's network in.
        seccomp: install the filter.
        limits: the slot's bounds.
        private: the slot's uid cannot reach ``workspace`` and ``etc`` where they are.
    """

    level: Level
    workspace: str
    etc: str = ""
    etc_binds: tuple[str, ...] = ()
    layout: SystemLayout
    interpreter: str
    bwrap: str = ""
    uid: int | None = None
    network: bool = False
    seccomp: bool = False
    limits: SlotLimits = SlotLimits()
    private: bool = False
    device: str = ""
    idmap: int = -1
    layers: tuple[LayerSource, ...] = ()

    @property
    def staged(self) -> bool:
        """Whether mounts come before bubblewrap, made as root in a mount namespace of the launch."""
        return self.private or bool(self.device)


STAGE: Final = "/mnt"
"""Where bubblewrap finds what is staged; exists on every Linux (FHS)."""
_STAGED_ETC: Final = f"{STAGE}/etc"
_STAGED_SLOT: Final = f"{STAGE}/slot"


_STAGED_MERGED: Final = f"{STAGE}/workspace"


def stage(launch: Launch) -> tuple[Mount, ...]:
    """What to mount below :data:`STAGE`, in this order."""
    if not launch.staged:
        return ()
    etc = Bind(launch.etc, _STAGED_ETC)
    if not launch.device:
        return (etc, Bind(os.path.dirname(launch.workspace), _STAGED_SLOT))
    overlay = (overlay_of(launch),) if launch.layers else ()
    return (etc, *parts(launch), *overlay)


def parts(launch: Launch) -> tuple[Device, ...]:
    """The devices that a workspace consists of: its own, and those of its layers."""
    own = Device(launch.device, _STAGED_SLOT, launch.idmap)
    layers = [
        Device(layer.device, f"{STAGE}/{index}", launch.idmap, read_only=True)
        for index, layer in enumerate(launch.layers)
    ]
    return (own, *layers)


def overlay_of(launch: Launch) -> Overlay:
    """A workspace with layers."""
    lower = [f"{STAGE}/{index}{layer.path}" for index, layer in enumerate(launch.layers)]
    upper = _STAGED_SLOT + launch.workspace
    return Overlay(_STAGED_MERGED, tuple(reversed(lower)), upper, f"{os.path.dirname(upper)}/work")


def root_inside(launch: Launch) -> str:
    """The workspace's path as commands see it."""
    return WORKSPACE if launch.level is Level.NS else launch.workspace


def command_line(launch: Launch, *, code_fd: int, socket_fd: int) -> list[str]:
    """What to execute, as the slot's uid."""
    agent = [launch.interpreter, "-I", "-S", "-c", BOOT, str(code_fd), str(socket_fd)]
    if launch.level is not Level.NS:
        return agent
    return [launch.bwrap, *_namespaces(launch), *_mounts(launch), "--", *agent]


def _namespaces(launch: Launch) -> list[str]:
    arguments = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if not launch.network:
        arguments.append("--unshare-net")
    inner = str(INNER_UID)
    arguments += ["--disable-userns", "--uid", inner, "--gid", inner, "--hostname", "sandbox"]
    return [*arguments, "--new-session", "--as-pid-1", "--clearenv"]


def _mounts(launch: Launch) -> list[str]:
    size = _tmp_bytes(launch.limits)
    bounded = ["--perms", "1777", "--size", str(size), "--tmpfs"] if size else ["--tmpfs"]
    arguments = ["--ro-bind", "/usr", "/usr"]
    for path, target in launch.layout.links:
        arguments += ["--symlink", target, path]
    for path in launch.layout.folders:
        arguments += ["--ro-bind", path, path]
    etc, workspace = _sources(launch)
    arguments += ["--ro-bind", etc, "/etc"]
    for name in launch.etc_binds:
        arguments += ["--ro-bind", f"/etc/{name}", f"/etc/{name}"]
    arguments += ["--proc", "/proc", "--dev", "/dev", *bounded, _SHARED_MEMORY, "--remount-ro", "/dev"]
    arguments += [
        *bounded,
        _TEMPORARY,
        "--dir",
        "/run",
        "--dir",
        "/var",
        "--symlink",
        _TEMPORARY,
        _TEMPORARY_2,
    ]
    arguments += ["--bind", workspace, WORKSPACE, "--remount-ro", "/"]
    return [*arguments, "--chdir", WORKSPACE]


def _tmp_bytes(limits: SlotLimits) -> int:
    """Both folders together are at most half of the memory: a slot that is full of files can run ``rm``."""
    if not limits.memory_bytes:
        return limits.tmp_bytes
    return min(limits.tmp_bytes, limits.memory_bytes // 4)


def _sources(launch: Launch) -> tuple[str, str]:
    """Where bubblewrap finds ``/etc`` and the workspace."""
    if not launch.staged:
        return launch.etc, launch.workspace
    if launch.layers:
        return _STAGED_ETC, _STAGED_MERGED
    inside = launch.workspace if launch.device else "/" + os.path.basename(launch.workspace)
    return _STAGED_ETC, _STAGED_SLOT + inside


def sweep_mode(level: Level, *, own_uid: bool) -> int:
    """How the agent makes sure that nothing is left."""
    if level is Level.NS:
        return protocol.SWEEP_NAMESPACE
    return protocol.SWEEP_UID if own_uid else protocol.SWEEP_DESCENDANTS


def slot_environment(root: str, temporary: str) -> dict[str, str]:
    """What a command finds in its environment, before additions of the call."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": root,
        "PWD": root,
        "USER": INNER_NAME,
        "LOGNAME": INNER_NAME,
        "SHELL": "/bin/bash",
        # Not LANG: with it every program loads twelve categories, a tenth of what bash takes to start, and C
        # and C.UTF-8 differ in this one only.
        "LC_CTYPE": "C.UTF-8",
        "TERM": "dumb",
        "TMPDIR": temporary,
    }


_AGENT_TASKS: Final = 1


def bounds(limits: SlotLimits) -> Bounds:
    """What the slot's control groups are to hold; the agent is in them too."""
    processes = limits.max_processes + _AGENT_TASKS if limits.max_processes else 0
    return Bounds(processes=processes, memory_bytes=limits.memory_bytes, cpus=limits.cpus)


def configuration(
    launch: Launch,
    *,
    machine: str,
    per_namespace_counts: bool,
    grouped: bool = False,
    held: Container[str] = (),
) -> bytes:
    """The agent's first message.

    Args:
        launch: the launch.
        machine: as in ``os.uname().machine``.
        grouped: calls have control groups of their own.
        held: controllers that hold the slot's limits; what they do not hold, resource limits do.
        per_namespace_counts: the kernel counts processes per user namespace (5.14 and newer); without it a
            daemon that shares its uid with a desktop session must not bound them.
    """
    root = root_inside(launch)
    own_count = launch.uid is not None or (launch.level is Level.NS and per_namespace_counts)
    processes = launch.limits.max_processes if own_count and "pids" not in held else 0
    data = launch.limits.memory_bytes if launch.level is not Level.NONE and "memory" not in held else 0
    mode = sweep_mode(launch.level, own_uid=launch.uid is not None)
    # Where there is no network namespace the filter is what cuts the network.
    sockets = launch.network or launch.level is Level.NS
    ptrace = launch.limits.ptrace
    program = build_filter(machine, sockets=sockets, ptrace=ptrace) if launch.seccomp else b""
    temporary = _TEMPORARY if launch.level is Level.NS else str(Path(launch.workspace).parent / "tmp")
    environment = protocol.pack_environment(slot_environment(root, temporary))
    files = launch.limits.max_open_files, launch.limits.max_file_bytes
    fixed = (mode, int(grouped), processes, *files, data)
    return protocol.pack(protocol.CONFIGURE, 0, fixed, (os.fsencode(root), environment, program))
