"""Mounts that a launch needs, made in a mount namespace that only this launch has.

Mount namespaces belong to threads. A thread of its own leaves the daemon's, mounts, forks (the child stays in
the new namespace) and ends, so that nothing of it is ever seen outside and nothing is left to undo.

The same thread can enter the namespace of a slot that runs and lay a fresh overlay over its workspace, which
takes a millisecond where a fresh agent takes twenty.

Source: unshare(2), mount(2), setns(2), mount_namespaces(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from sandbox_daemon.isolation.mounts import attach, open_device, open_overlay
from sandbox_daemon.isolation.policy import STAGE, Bind, Device, Mount, Overlay

T = TypeVar("T")

_CLONE_NEWNS: Final = 0x00020000
_NOSUID_NODEV: Final = 0x2 | 0x4
_BIND: Final = 0x1000
_PRIVATE_ALL: Final = 0x4000 | (1 << 18)

_libc = ctypes.CDLL(None, use_errno=True)


def call_staged(function: Callable[[], T], mounts: Sequence[Mount]) -> T:
    """Calls ``function`` where ``mounts`` are. Blocking; ``OSError`` when one cannot be made."""

    def run() -> T:
        _mount_all(mounts)
        return function()

    return _in_own_thread(run)


def remount(mounts: Sequence[Mount], overlay: Overlay, *, pid: int, path: str) -> None:
    """Lays ``overlay`` over ``path`` in the mount namespace of a process. Blocking.

    Who has the old one open keeps it: the process must be alone in there, and open it anew.

    Args:
        mounts: what the overlay consists of.
        overlay: the overlay.
        pid: of the process.
        path: absolute, as the process sees it.

    Raises:
        OSError: it could not be done; the process sees what it saw before.
    """

    def run() -> None:
        namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _mount_all(mounts)
            mount = _overlay(overlay)
            try:
                _checked(_libc.setns(namespace, _CLONE_NEWNS), "setns")
                attach(mount, path)
            finally:
                os.close(mount)
        finally:
            os.close(namespace)

    _in_own_thread(run)


def _in_own_thread(function: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(function())
        except Exception as error:  # of whatever kind: it is the caller's, who waits in another thread
            errors.append(error)

    thread = threading.Thread(target=run, name="staging")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _mount_all(mounts: Sequence[Mount]) -> None:
    _checked(_libc.unshare(_CLONE_NEWNS), "unshare")
    _mount("none", "/", flags=_PRIVATE_ALL)
    with contextlib.ExitStack() as stack:
        # Opened before the stage hides them: a data directory may well lie below it.
        sources = {}
        for mount in mounts:
            if isinstance(mount, Bind):
                sources[mount] = _open(mount)
                stack.callback(os.close, sources[mount])
        _mount("tmpfs", STAGE, kind="tmpfs", flags=_NOSUID_NODEV, options="mode=755,size=64k")
        for mount in mounts:
            os.mkdir(mount.target, 0o755)
            if isinstance(mount, Bind):
                _mount(f"/proc/self/fd/{sources[mount]}", mount.target, flags=_BIND)
            else:
                _attach(mount)


def _attach(mount: Device | Overlay) -> None:
    try:
        descriptor = _overlay(mount) if isinstance(mount, Overlay) else _device(mount)
        try:
            attach(descriptor, mount.target)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OSError(error.errno, f"mount {mount.target}: {error.strerror}") from None


def _device(mount: Device) -> int:
    return open_device(mount.source, read_only=mount.read_only, idmap=mount.idmap)


def _overlay(overlay: Overlay) -> int:
    lower = []
    for index, path in enumerate(overlay.lower):
        lower.append(f"{STAGE}/-{index}")  # short, because fsconfig takes 256 bytes for all of them
        os.symlink(path, lower[-1])
    return open_overlay(lower=lower, upper=overlay.upper, work=overlay.work)


def _mount(source: str, target: str, *, kind: str = "", flags: int = 0, options: str = "") -> None:
    arguments = (os.fsencode(source), os.fsencode(target), kind.encode() or None)
    _checked(_libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None), f"mount {target}")


def _open(mount: Bind) -> int:
    try:
        return os.open(mount.source, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, f"mount {mount.target}: {error.strerror}") from None


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
