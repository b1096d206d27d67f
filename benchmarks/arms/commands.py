"""Argument vectors of the commands that the arms run. No process is started here."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

SLOT_UID_BASE = 210_000
"""First uid of the slots of these arms; away from what people and distributions hand out."""
SLOT_PATH = "/usr/local/bin:/usr/bin:/bin"
_SYSTEM = ("/bin", "/sbin", "/lib", "/lib64")


def find_bwrap() -> str | None:
    """Where bubblewrap is; ``None`` without it."""
    return shutil.which("bwrap")


def plain_argv(command: str) -> list[str]:
    """Nothing around it: the floor under every arm."""
    return ["/bin/bash", "-c", command]


def sandboxed_argv(command: str, *, workspace: Path, uid: int, allow_network: bool) -> list[str]:
    """A command in a sandbox of its own that deserves the name; see ``docs/design/`` on isolation.

    Root drops to the slot's uid *before* bubblewrap: started as root it keeps the host's root inside.
    """
    drop = ["--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
    setpriv = [shutil.which("setpriv") or "setpriv", *drop] if os.geteuid() == 0 else []
    namespaces = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup"]
    return [
        *setpriv,
        find_bwrap() or "bwrap",
        *namespaces,
        *([] if allow_network else ["--unshare-net"]),
        "--disable-userns",
        "--new-session",
        "--die-with-parent",
        *("--clearenv", "--setenv", "PATH", SLOT_PATH, "--setenv", "HOME", "/workspace"),
        *_system_mounts(),
        *("--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"),
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),  # a path inside the sandbox
        *("--bind", str(workspace), "/workspace", "--chdir", "/workspace"),
        *plain_argv(command),
    ]


def ancestor_argv(command: str, *, workspace: Path, allow_network: bool) -> list[str]:
    """The ancestor's way: whoever the server runs as, one bubblewrap a command, dash inside."""
    return [
        find_bwrap() or "bwrap",
        *("--unshare-user", "--unshare-pid", "--unshare-uts", "--unshare-ipc"),
        *([] if allow_network else ["--unshare-net"]),
        "--die-with-parent",
        *_system_mounts(),
        *("--ro-bind", "/etc", "/etc", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"),
        *("--bind", str(workspace), str(workspace), "--chdir", str(workspace)),
        *("/bin/sh", "-c", command),
    ]


def _system_mounts() -> list[str]:
    """The system read-only; links stay links where /bin and its like were merged into /usr."""
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM:
        path = Path(name)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), name]
        elif path.exists():
            arguments += ["--ro-bind", name, name]
    return arguments
