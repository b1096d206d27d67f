"""Mounts that a launch needs, made in a mount namespace that only this launch has.

Mount namespaces belong to threads. A thread of its own leaves the daemon's, mounts, forks (the child stays in
the new namespace) and ends, so that nothing of it is ever seen outside and nothing is left to undo.

Source: unshare(2), mount(2), mount_namespaces(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from sandbox_daemon.isolation.policy import STAGE
from sandbox_daemon.isolation.volumes import FILE_SYSTEM, MOUNT_OPTIONS

T = TypeVar("T")

_CLONE_NEWNS: Final = 0x00020000
_NOSUID_NODEV: Final = 0x2 | 0x4
_BIND: Final = 0x1000
_PRIVATE_ALL: Final = 0x4000 | (1 << 18)

_libc = ctypes.CDLL(None, use_errno=True)


def call_staged(function: Callable[[], T], mounts: Sequence[tuple[str, str]]) -> T:
    """Calls ``function`` where ``mounts`` are. Blocking; ``OSError`` when one cannot be made."""
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            _mount_all(mounts)
            results.append(function())
        except Exception as error:  # of whatever kind: it is the caller's, who waits in another thread
            errors.append(error)

    thread = threading.Thread(target=run, name="staging")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _mount_all(mounts: Sequence[tuple[str, str]]) -> None:
    _checked(_libc.unshare(_CLONE_NEWNS), "unshare")
    _mount("none", "/", flags=_PRIVATE_ALL)
    with contextlib.ExitStack() as stack:
        # Opened before the stage hides them: a data directory may well lie below it.
        sources = []
        for path, target in mounts:
            sources.append(_open(path, target))
            stack.callback(os.close, sources[-1])
        _mount("tmpfs", STAGE, kind="tmpfs", flags=_NOSUID_NODEV, options="mode=755,size=64k")
        for source, (path, target) in zip(sources, mounts, strict=True):
            os.mkdir(target, 0o755)
            if path.startswith("/dev/"):
                _mount(path, target, kind=FILE_SYSTEM, flags=_NOSUID_NODEV, options=",".join(MOUNT_OPTIONS))
            else:
                _mount(f"/proc/self/fd/{source}", target, flags=_BIND)


def _mount(source: str, target: str, *, kind: str = "", flags: int = 0, options: str = "") -> None:
    arguments = (os.fsencode(source), os.fsencode(target), kind.encode() or None)
    _checked(_libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None), f"mount {target}")


def _open(source: str, target: str) -> int:
    try:
        return os.open(source, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, f"mount {target}: {error.strerror}") from None


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
