"""The mount API of Linux, as far as workspaces need it: mounts that are attached nowhere at first.

A mount that has no place yet can be given another map of owners (``MOUNT_ATTR_IDMAP``), made read-only, or
attached in the mount namespace of somebody else. ``mount(2)`` can do none of these.

Source: fsopen(2), fsconfig(2), fsmount(2), mount_setattr(2), move_mount(2), linux/mount.h,
Documentation/filesystems/{overlayfs,idmappings}.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import struct
from collections.abc import Sequence
from typing import Final

FILE_SYSTEM: Final = "ext4"
_OPTIONS: Final = ("noinit_itable", "nobarrier")

_MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 429, 430, 431, 432, 442
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_CLOEXEC: Final = 1
_NOSUID_NODEV: Final = 0x2 | 0x4
_READ_ONLY: Final = 0x1
_IDMAP: Final = 0x00100000
_EMPTY_PATH: Final = 0x1000
_FROM_EMPTY_PATH: Final = 0x4
_AT_FDCWD: Final = -100
_ATTRIBUTES: Final = struct.Struct("=QQQQ")
"""``struct mount_attr``: set, clear, propagation, user namespace."""

_libc = ctypes.CDLL(None, use_errno=True)


def open_device(device: str, *, read_only: bool = False, idmap: int = -1) -> int:
    """A descriptor of a mounted file system's root. ``OSError`` when the kernel refuses.

    Args:
        device: the block device.
        read_only: nothing can be written through this mount, whoever else may write to the device.
        idmap: a user namespace whose map the owners of all files go through; -1: none.
    """
    mount = _made(FILE_SYSTEM, [("source", os.fsencode(device))], _OPTIONS)
    try:
        _set_attributes(mount, read_only=read_only, idmap=idmap)
    except BaseException:
        os.close(mount)
        raise
    return mount


def open_overlay(*, lower: Sequence[str], upper: str, work: str) -> int:
    """A descriptor of an overlay's root: ``lower`` from top to bottom. ``OSError`` when the kernel refuses.

    Directories are not redirected: renaming one that comes from a lower layer is ``EXDEV``, which ``mv`` and
    their like answer by copying. What is in an upper is then all in its own place, for whoever reads it.

    It is volatile: nothing is written out for its sake, which would be the whole volume when the last process
    on it ends, or for an ``fsync`` in it.
    """
    words = {"lowerdir": ":".join(lower), "upperdir": upper, "workdir": work, "redirect_dir": "off"}
    words |= {"index": "off", "metacopy": "off", "source": "workspace"}
    with contextlib.suppress(FileNotFoundError):
        # By this a volatile one says that a machine may have gone down under it. Our uppers go down with it.
        shutil.rmtree(f"{work}/work/incompat/volatile")
    return _made("overlay", [(name, os.fsencode(value)) for name, value in words.items()], ("volatile",))


def attach(mount: int, path: str) -> None:
    """Gives a mount its place in the mount namespace of this thread."""
    _call(_MOVE_MOUNT, mount, b"", _AT_FDCWD, os.fsencode(path), _FROM_EMPTY_PATH)


def _made(kind: str, words: Sequence[tuple[str, bytes]], flags: Sequence[str]) -> int:
    context = _call(_FSOPEN, kind.encode(), _CLOEXEC)
    try:
        for name, value in words:
            _call(_FSCONFIG, context, _SET_STRING, name.encode(), value, 0)
        for flag in flags:
            _call(_FSCONFIG, context, _SET_FLAG, flag.encode(), None, 0)
        _call(_FSCONFIG, context, _CREATE, None, None, 0)
        return _call(_FSMOUNT, context, _CLOEXEC, _NOSUID_NODEV)
    finally:
        os.close(context)


def _set_attributes(mount: int, *, read_only: bool, idmap: int) -> None:
    wanted = (_READ_ONLY if read_only else 0) | (_IDMAP if idmap >= 0 else 0)
    if wanted:
        attributes = _ATTRIBUTES.pack(wanted, 0, 0, max(idmap, 0))
        _call(_MOUNT_SETATTR, mount, b"", _EMPTY_PATH, attributes, len(attributes))


def _call(number: int, *arguments: int | bytes | None) -> int:
    words = [ctypes.c_long(word) if isinstance(word, int) else ctypes.c_char_p(word) for word in arguments]
    result = _libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result)
