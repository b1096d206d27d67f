"""What this machine has: an interpreter a slot can run, bubblewrap, the shape of ``/usr``."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

from attrs import frozen

from hermes_trio.errors import UnavailableError

_SYSTEM_FOLDERS = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")
_PREFERRED = ("/usr/bin/python3", "/usr/local/bin/python3")


@frozen(kw_only=True)
class SystemLayout:
    """Where programs and libraries are.

    Args:
        links: top-level names that are links into ``/usr`` (merged systems), with their targets.
        folders: top-level folders of their own (unmerged systems).
    """

    links: tuple[tuple[str, str], ...]
    folders: tuple[str, ...]


def read_layout() -> SystemLayout:
    """Looks at ``/``."""
    links, folders = [], []
    for name in _SYSTEM_FOLDERS:
        path = f"/{name}"
        if os.path.islink(path):
            links.append((path, os.readlink(path)))
        elif os.path.isdir(path):
            folders.append(path)
    return SystemLayout(links=tuple(links), folders=tuple(folders))


def untraversable(path: Path) -> Path | None:
    """The first folder on the way to ``path`` (included) that a stranger cannot pass, or ``None``."""
    path = path.resolve()
    for folder in (*reversed(path.parents), path):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def find_interpreter(*, within_usr: bool, for_stranger: bool) -> str:
    """A Python of 3.9 or newer for the agents.

    Args:
        within_usr: it must be below ``/usr``, the only system folder a slot at level ``ns`` sees.
        for_stranger: another uid must be able to run it.

    Raises:
        UnavailableError: there is none.
    """
    for candidate in (sys.executable, *_PREFERRED):
        path = os.path.realpath(candidate)
        if not os.access(path, os.X_OK):
            continue
        if within_usr and not path.startswith("/usr/"):
            continue
        if for_stranger and untraversable(Path(path)) is not None:
            continue
        return path
    raise UnavailableError(
        "No Python that a slot could run was found.",
        mend="Install the system's own Python 3 (Debian: apt-get install python3).",
    )


def find_bwrap() -> str:
    """Bubblewrap's path. ``UnavailableError`` when there is none."""
    path = shutil.which("bwrap", path="/usr/bin:/usr/local/bin:/bin")
    if path is None:
        raise UnavailableError("bubblewrap is not installed.", mend="Debian: apt-get install bubblewrap.")
    return path
